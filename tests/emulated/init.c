/* The emulated machine's only process: runs each line of /commands, NAME=VALUE words before the program, and prints what
 * it prints and its exit code; then switches the machine off. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static void run(char* line) {
    char* argv[16] = {NULL};
    size_t n = 0;
    for (char* word = strtok(line, " \n"); word && n + 1 < sizeof argv / sizeof *argv; word = strtok(NULL, " \n"))
        if (n == 0 && strchr(word, '='))
            putenv(word);
        else
            argv[n++] = word;
    execv(argv[0], argv);
    perror(argv[0]);
    _exit(127);
}

int main(void) {
    char line[512];
    struct termios raw;
    FILE* commands = fopen("/commands", "r");
    if (!commands || !freopen("/dev/ttyS1", "w", stdout) || !freopen("/dev/ttyS1", "w", stderr)) return 1;
    tcgetattr(STDOUT_FILENO, &raw);
    cfmakeraw(&raw);
    tcsetattr(STDOUT_FILENO, TCSANOW, &raw);
    while (fgets(line, sizeof line, commands)) {
        int status;
        printf("$ %s", line);
        fflush(stdout);
        const pid_t child = fork();
        if (child == 0) run(line);
        if (child < 0 || waitpid(child, &status, 0) < 0) return 1;
        printf("= %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    }
    fflush(stdout);
    tcdrain(STDOUT_FILENO);
    /* Bochs ends when this port is told so (its manual, "the unmapped device"). */
    if (ioperm(0x8900, 1, 1)) return 1;
    for (const char* c = "Shutdown"; *c; c++) outb((unsigned char)*c, 0x8900);
    return 1; /* only if it did not: the kernel panics, and the emulator ends with it */
}
