// Each rank says where it is and what all ranks sum up to. With a rank as argument, that one gives up and the others wait
// for it: with status 3, or as a second argument says, by a signal's number or by abort.
#include <mpi.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv) {
	int rank, size;
	char host[256] = "";
	double mine, sum = 0;
	MPI_Init(&argc, &argv);
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Comm_size(MPI_COMM_WORLD, &size);
	gethostname(host, sizeof host - 1);
	mine = rank + 1;
	MPI_Allreduce(&mine, &sum, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
	printf("rank %d of %d on %s: %g\n", rank, size, host, sum);
	fflush(stdout);
	if (argc > 1) {
		if (rank == atoi(argv[1])) {
			fprintf(stderr, "rank %d cannot go on\n", rank);
			if (argc == 2)
				exit(3);
			if (strcmp(argv[2], "abort") == 0)
				MPI_Abort(MPI_COMM_WORLD, 4);
			raise(atoi(argv[2]));
		}
		MPI_Barrier(MPI_COMM_WORLD);
	}
	MPI_Finalize();
	return 0;
}
