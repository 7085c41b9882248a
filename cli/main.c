/* SPDX-License-Identifier: BSD-2-Clause */
/* viaduct: one program, a subcommand a file. */
#include <stdio.h>
#include <string.h>

#include "cli.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *what;
} commands[] = {
    {"drive", via_cmd_drive, "do I/O to a vhost-user block back-end, in any dma strategy"},
    {"explain", via_cmd_explain, "tell which way virtio devices' data takes to memory, and what is wrong with it"},
    {"guard", via_cmd_guard, "keep a guest's memory from vhost-user back-ends"},
    {"search", via_cmd_search, NULL}, /* drive's own */
    {NULL, NULL, NULL},
};

static int usage(FILE *to)
{
    fputs("usage: viaduct COMMAND [OPTION...]\n\n", to);
    for (size_t i = 0; commands[i].name; i++)
        if (commands[i].what)
            fprintf(to, "  %-8s %s\n", commands[i].name, commands[i].what);
    fputs("\n`viaduct COMMAND --help` tells its options.\n", to);
    return to == stdout ? 0 : 2;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return usage(stderr);
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "help"))
        return usage(stdout);
    for (size_t i = 0; commands[i].name; i++)
        if (!strcmp(argv[1], commands[i].name))
            return commands[i].run(argc - 1, argv + 1);
    fprintf(stderr, "viaduct: there is no command '%s'\n", argv[1]);
    return usage(stderr);
}
