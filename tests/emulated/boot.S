# The emulated machine's ROM: 32-bit protected mode, the disk image into memory, then Linux by its 32-bit boot protocol
# (Documentation/arch/x86/boot.rst). disk.py lays the image out and gives the symbols in capitals.
    .code16
start:
    cli
    lgdtl %cs:gdt_pointer - start
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    ljmpl $0x10, $ROM + (protected - start)
    .code32
protected:
    movw $0x18, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movl $PARAMETERS, %esp          # grows down, away from them
    xorl %ebx, %ebx                 # the next sector
    movl $PARAMETERS, %edi
    movl $PARAMETERS_SECTORS, %ebp
    call load
    movl $KERNEL, %edi
    movl $KERNEL_SECTORS, %ebp
    call load
    movl $INITRD, %edi
    movl $INITRD_SECTORS, %ebp
    call load
    movl $PARAMETERS, %esi
    xorl %ebp, %ebp
    xorl %edi, %edi
    xorl %ebx, %ebx
    movl $KERNEL, %eax
    jmp *%eax

# ebp sectors from sector ebx on to edi, one after the other by programmed input (ATA, 28-bit addresses)
load:
    movw $0x1f2, %dx
    movb $1, %al
    outb %al, %dx
    movl %ebx, %eax
    incw %dx
    outb %al, %dx
    shrl $8, %eax
    incw %dx
    outb %al, %dx
    shrl $8, %eax
    incw %dx
    outb %al, %dx
    incw %dx
    movb $0xe0, %al                 # the first drive, linear addresses
    outb %al, %dx
    incw %dx
    movb $0x20, %al                 # READ SECTORS
    outb %al, %dx
1:  inb %dx, %al
    andb $0x88, %al                 # until it is not busy and has data
    cmpb $8, %al
    jne 1b
    movw $0x1f0, %dx
    movl $256, %ecx
    rep insw
    incl %ebx
    decl %ebp
    jnz load
    ret

    .balign 8
gdt:                                # code at 0x10, data at 0x18, as the protocol asks
    .quad 0, 0, 0x00cf9a000000ffff, 0x00cf92000000ffff
gdt_pointer:
    .word . - gdt - 1
    .long ROM + (gdt - start)

    .org 0xfff0                     # where a CPU begins
    .code16
    ljmp $0xf000, $0
    .org 0x10000
