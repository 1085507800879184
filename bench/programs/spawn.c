// spawn LOOPS N PROGRAM starts PROGRAM N times, in LOOPS processes that have one of them running at a time: the least
// that starting costs on this machine. It fails when one of them does.
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static int run(char *program) {
	char *args[] = {program, NULL}, *none[] = {NULL};
	int status;
	pid_t child = vfork();
	if (child == 0) {
		execve(program, args, none);
		_exit(127);
	}
	return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

int main(int argc, char **argv) {
	int loops, n, failed = 0, status;
	if (argc != 4 || (loops = atoi(argv[1])) < 1)
		return 2;
	n = atoi(argv[2]);
	for (int loop = 0; loop < loops; loop++) {
		pid_t child = fork();
		if (child < 0)
			return 1;
		if (child == 0) {
			for (int i = loop; i < n; i += loops)
				if (!run(argv[3]))
					_exit(1);
			_exit(0);
		}
	}
	for (int loop = 0; loop < loops; loop++)
		failed |= wait(&status) < 0 || status != 0;
	return failed;
}
