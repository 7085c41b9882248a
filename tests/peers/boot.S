/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The first sector of a disk from which the firmware starts Linux. It knows of no file system: boot.py lays what is to be loaded
 * behind the file system, whole pieces of 32 KiB, and writes into `parts` where each part lies and where in memory it goes.
 * The parts are made such that nothing remains to be done here but to load them and to jump.
 */
    .code16
    .globl _start
_start:
    cli
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw $_start, %sp
    sti
    cld
    movb %dl, drive
    movw $parts, %bp

part:
    movl 0(%bp), %eax
    movl %eax, sector
    movl 6(%bp), %eax
    movl %eax, destination
piece:
    movb $0x42, %ah /* read: the firmware drives the disk */
    movb drive, %dl
    movw $request, %si
    int $0x13
    jc failed

    movl destination, %eax /* copy: the buffer lies below 1 MiB, most destinations don't */
    movw %ax, to_low
    shrl $16, %eax
    movb %al, to_middle
    movb %ah, to_high
    movb $0x87, %ah
    movw $0x4000, %cx
    movw $table, %si
    int $0x15
    jc failed

    addl $64, sector
    addl $0x8000, destination
    decw 4(%bp)
    jnz piece
    addw $10, %bp
    cmpw $parts_end, %bp
    jb part

    cli /* Linux' boot protocol, 16 bit entry */
    movw $0x9000, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %fs
    movw %ax, %gs
    movw %ax, %ss
    movw $0xe000, %sp
    ljmp $0x9020, $0

failed:
    hlt
    jmp failed

    .balign 4
destination:
    .long 0
drive:
    .byte 0
    .balign 4
request: /* 64 sectors to 0x10000 */
    .byte 16, 0
    .word 64, 0, 0x1000
sector:
    .long 0, 0
table: /* two entries for the firmware, source, destination, two for the firmware */
    .long 0, 0, 0, 0
    .word 0xffff, 0
    .byte 1, 0x93, 0, 0
    .word 0xffff
to_low:
    .word 0
to_middle:
    .byte 0, 0x93, 0
to_high:
    .byte 0
    .long 0, 0, 0, 0

    .org 400
parts: /* four times: first sector (32 bits), pieces (16), where to (32) */
    .fill 40, 1, 0
parts_end:
    .org 510
    .word 0xaa55
