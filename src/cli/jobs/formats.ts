/** The output formats of job listings that have a name (flux-jobs(1), flux-pgrep(1)). */
import type { NamedFormat } from "../output/named-formats.ts";

export const JOB_FORMATS: Readonly<Record<string, NamedFormat>> = {
  default: {
    description: "Default flux-jobs format string",
    format:
      "{id.f58:>12} ?:{queue:<8.8} +:{username:<8} {name:<10.10+} {status_abbrev:>2.2} {ntasks:>6} {nnodes:>6h} {contextual_time!F:>8h} {contextual_info}",
  },
  cute: {
    description: "Cute flux-jobs format string (default with emojis)",
    format:
      "{id.f58:>12} ?:{queue:<8.8} +:{username:<8} {name:<10.10+} {status_emoji:>5.5} {ntasks:>6} {nnodes:>6h} {contextual_time!F:>8h} {contextual_info}",
  },
  long: {
    description: "Extended flux-jobs format string",
    format:
      "{id.f58:>12} ?:{queue:<8.8} +:{username:<8} {name:<10.10+} {status:>9.9} {ntasks:>6} {nnodes:>6h} {t_submit!d:%b%d %R::>12} {t_remaining!F:>12h} {contextual_time!F:>8h} {contextual_info}",
  },
  deps: {
    description: "Show job urgency, priority, and dependencies",
    format: "{id.f58:>12} ?:{queue:<8.8} {name:<10.10+} {urgency:<3} {priority:<12} {state:<8.8} {dependencies}",
  },
  endreason: {
    description: "Show why each job ended",
    format:
      "{id.f58:>12} ?:{queue:<8.8} +:{username:<8} {name:<10.10+} {status_abbrev:>2.2} {t_inactive!d:%b%d %R::>12h} {inactive_reason}",
  },
};
