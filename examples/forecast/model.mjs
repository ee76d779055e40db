/**
 * The model of the example: tomorrow's maximum temperature by damped-trend exponential smoothing.
 * A parameter set is a pair (level gain, trend gain); there are 8 x 8 of them.
 */

export const YEARS = [2012, 2013, 2014, 2015];
const GAINS = [0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.75, 0.9];
const TREND_DAMPING = 0.8;
/** Days at the beginning of a year that only warm the model up. */
const WARM_UP_DAYS = 14;

export const MEMBER_COUNT = GAINS.length ** 2;

/** The parameters of ensemble member 1 … 64. Throws for any other number. */
export function parametersOf(member) {
  if (!Number.isInteger(member) || member < 1 || member > MEMBER_COUNT)
    throw new RangeError(`there is no parameter set ${member}: members are 1 to ${MEMBER_COUNT}`);
  const index = member - 1;
  return { levelGain: GAINS[Math.floor(index / GAINS.length)], trendGain: GAINS[index % GAINS.length] };
}

/** Root mean square error, in degrees, of the forecast over a series of daily temperatures. */
export function forecastError(temperatures, { levelGain, trendGain }) {
  let level = temperatures[0];
  let trend = 0;
  let sum = 0;
  let count = 0;
  for (let day = 1; day < temperatures.length; day++) {
    const forecast = level + TREND_DAMPING * trend;
    const error = temperatures[day] - forecast;
    if (day >= WARM_UP_DAYS) {
      sum += error * error;
      count++;
    }
    const previous = level;
    level = forecast + levelGain * error;
    trend = trendGain * (level - previous) + (1 - trendGain) * TREND_DAMPING * trend;
  }
  return Math.sqrt(sum / count);
}

/** The daily maximum temperatures of a year, from the text of the CSV file. */
export function temperaturesOf(csv, year) {
  const [header, ...rows] = csv.trim().split("\n");
  const column = header.split(",").indexOf("temp_max");
  return rows.filter((row) => row.startsWith(`${year}-`)).map((row) => Number(row.split(",")[column]));
}

/** The whole result from scratch, without Flux: what the workflow must arrive at. */
export function directResult(csv) {
  const series = YEARS.map((year) => temperaturesOf(csv, year));
  return Array.from({ length: MEMBER_COUNT }, (_, index) => {
    const errors = series.map((temperatures) => forecastError(temperatures, parametersOf(index + 1)));
    return { member: index + 1, errors };
  });
}
