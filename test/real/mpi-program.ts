/** A program for any MPI, in C. */

/** Sums the ranks over all processes: the result is right only when every one of them was reached. */
export const SUM_OF_RANKS: string = `
#include <mpi.h>
#include <stdio.h>
int main(int argc, char **argv) {
  int rank, size, sum = 0;
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
  if (rank == 0) printf("size %d sum %d\\n", size, sum);
  MPI_Finalize();
  return 0;
}
`;
