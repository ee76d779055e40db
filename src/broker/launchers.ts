/**
 * Launchers of parallel programs by what they put into the environment of each process. A broker that was started by one
 * in several copies, and cannot learn from it where the others are, must not take itself for a whole instance: its initial
 * program would run once for each copy. Pure.
 */

export interface Launcher {
  readonly name: string;
  readonly rank: number;
  readonly size: number;
  /** How to start brokers with it so that they find each other. */
  readonly advice: string;
}

interface Signs {
  readonly name: string;
  readonly rank: string;
  readonly size: string;
  readonly advice: string;
}

const LAUNCHERS: readonly Signs[] = [
  {
    name: "Slurm",
    rank: "SLURM_PROCID",
    size: "SLURM_STEP_NUM_TASKS",
    advice: "use srun --mpi=pmi2, or srun with neither --mpi=pmix nor FLUX_PMI_CLIENT_METHODS",
  },
  {
    name: "Open MPI's mpirun",
    rank: "OMPI_COMM_WORLD_RANK",
    size: "OMPI_COMM_WORLD_SIZE",
    advice: "it offers PMIx only: use MPICH's mpiexec, or srun --mpi=pmi2",
  },
  {
    name: "a PMIx launcher",
    rank: "PMIX_RANK",
    size: "PMIX_SIZE",
    advice: "use one that offers PMI-1 as well",
  },
  { name: "MVAPICH", rank: "MV2_COMM_WORLD_RANK", size: "MV2_COMM_WORLD_SIZE", advice: "use mpiexec of Hydra" },
  { name: "Cray PALS", rank: "PALS_RANKID", size: "PALS_SIZE", advice: "start it with PMI-1" },
  { name: "IBM's jsrun", rank: "JSM_NAMESPACE_RANK", size: "JSM_NAMESPACE_SIZE", advice: "start it with PMI-1" },
];

/** The launcher that started this process as one of several; null where there is none. */
export function launcherOf(env: Readonly<Record<string, string>>): Launcher | null {
  for (const { name, rank, size, advice } of LAUNCHERS) {
    const [rankText, sizeText] = [env[rank] ?? "", env[size] ?? ""];
    if (!/^\d+$/.test(rankText) || !/^\d+$/.test(sizeText)) continue;
    if (Number(sizeText) > 1) return { name, rank: Number(rankText), size: Number(sizeText), advice };
  }
  return null;
}

/** Why a broker of several must not start alone, and what to do. */
export function describeSingletons({ name, size, advice }: Launcher): string {
  return (
    `one of ${size} copies that ${name} started, which cannot find each other: there is no PMI (PMI_FD, PMI_RANK, PMI_SIZE). ` +
    `${advice[0]!.toUpperCase()}${advice.slice(1)}. ` +
    `For ${size} instances of one broker each set FLUX_PMI_CLIENT_METHODS=single`
  );
}
