/* SPDX-License-Identifier: BSD-2-Clause */
/* cli: each subcommand takes its own argv (argv[0] is its name) and returns an exit status: 0, 1 failed, 2 usage. */
#ifndef VIADUCT_CLI_H
#define VIADUCT_CLI_H

int via_cmd_drive(int argc, char **argv);
int via_cmd_explain(int argc, char **argv);
int via_cmd_guard(int argc, char **argv);
int via_cmd_search(int argc, char **argv);

#endif
