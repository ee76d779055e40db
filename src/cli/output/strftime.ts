/** Dates by the letters of strftime(3), in local time. Pure but for the time zone of the process. */
const DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS = [
  "January",
  "February",
  "March",
  "April",
  "May",
  "June",
  "July",
  "August",
  "September",
  "October",
  "November",
  "December",
];

/** Formats seconds since the epoch. Letters that are not known stay as they are. */
export function strftime(format: string, seconds: number): string {
  const date = new Date(seconds * 1000);
  return format.replace(/%([%A-Za-z])/g, (whole, letter: string) => part(letter, date, seconds) ?? whole);
}

function part(letter: string, date: Date, seconds: number): string | null {
  switch (letter) {
    case "Y":
      return String(date.getFullYear());
    case "y":
      return two(date.getFullYear() % 100);
    case "m":
      return two(date.getMonth() + 1);
    case "d":
      return two(date.getDate());
    case "e":
      return String(date.getDate()).padStart(2);
    case "H":
      return two(date.getHours());
    case "I":
      return two(date.getHours() % 12 || 12);
    case "M":
      return two(date.getMinutes());
    case "S":
      return two(date.getSeconds());
    case "f":
      return String(Math.floor((seconds % 1) * 1e6)).padStart(6, "0");
    case "p":
      return date.getHours() < 12 ? "AM" : "PM";
    case "s":
      return String(Math.floor(seconds));
    case "j":
      return String(dayOfYear(date)).padStart(3, "0");
    case "%":
      return "%";
    default:
      return named(letter, date, seconds);
  }
}

function named(letter: string, date: Date, seconds: number): string | null {
  switch (letter) {
    case "a":
      return DAYS[date.getDay()]!.slice(0, 3);
    case "A":
      return DAYS[date.getDay()]!;
    case "b":
    case "h":
      return MONTHS[date.getMonth()]!.slice(0, 3);
    case "B":
      return MONTHS[date.getMonth()]!;
    case "F":
      return strftime("%Y-%m-%d", seconds);
    case "T":
    case "X":
      return strftime("%H:%M:%S", seconds);
    case "R":
      return strftime("%H:%M", seconds);
    case "D":
    case "x":
      return strftime("%m/%d/%y", seconds);
    case "c":
      return strftime("%a %b %e %H:%M:%S %Y", seconds);
    default:
      return null;
  }
}

function dayOfYear(date: Date): number {
  const start = new Date(date.getFullYear(), 0, 0);
  return Math.round(
    (new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime() - start.getTime()) / 86_400_000,
  );
}

function two(value: number): string {
  return String(value).padStart(2, "0");
}
