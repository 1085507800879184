// spawn LOOPS N PROGRAM [task] starts PROGRAM N times, in LOOPS processes that have one of them running at a time: the
// least that starting costs on this machine. With task each has what a task needs at least: a session of its own, an
// environment, and pipes for what it writes, which are read to their ends. It fails when one of them does.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static int drained(int from) {
	char some[512];
	while (read(from, some, sizeof some) > 0)
		;
	return close(from) == 0;
}

static int run(char *program, int task) {
	char *args[] = {program, NULL}, *none[] = {NULL};
	int status, out[2], err[2];
	if (task && (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0))
		return 0;
	pid_t child = vfork();
	if (child == 0) {
		if (task) {
			setsid();
			dup2(out[1], 1);
			dup2(err[1], 2);
		}
		execve(program, args, task ? environ : none);
		_exit(127);
	}
	if (task) {
		close(out[1]);
		close(err[1]);
		if (!drained(out[0]) || !drained(err[0]))
			return 0;
	}
	return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

int main(int argc, char **argv) {
	int loops, n, failed = 0, status;
	if (argc < 4 || (loops = atoi(argv[1])) < 1)
		return 2;
	n = atoi(argv[2]);
	for (int loop = 0; loop < loops; loop++) {
		pid_t child = fork();
		if (child < 0)
			return 1;
		if (child == 0) {
			for (int i = loop; i < n; i += loops)
				if (!run(argv[3], argc > 4))
					_exit(1);
			_exit(0);
		}
	}
	for (int loop = 0; loop < loops; loop++)
		failed |= wait(&status) < 0 || status != 0;
	return failed;
}
