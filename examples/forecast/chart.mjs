/** The chart of the example: a heat map of the forecast error over the two gains, as SVG. */

const CELL = 44;
const MARGIN = 72;

/** Colour of a value between 0 (best, dark blue) and 1 (worst, pale yellow). */
function colour(fraction) {
  const mix = (low, high) => Math.round(low + (high - low) * fraction);
  return `rgb(${mix(25, 250)},${mix(70, 240)},${mix(140, 190)})`;
}

/** `results`: one { levelGain, trendGain, error } per member. Returns the text of an SVG file. */
export function chart(results) {
  const levels = [...new Set(results.map(({ levelGain }) => levelGain))];
  const trends = [...new Set(results.map(({ trendGain }) => trendGain))];
  const errors = results.map(({ error }) => error);
  const [low, high] = [Math.min(...errors), Math.max(...errors)];
  const cells = results.map(({ levelGain, trendGain, error }) => {
    const x = MARGIN + trends.indexOf(trendGain) * CELL;
    const y = MARGIN + levels.indexOf(levelGain) * CELL;
    const fraction = (error - low) / (high - low || 1);
    const ink = fraction < 0.5 ? "white" : "black";
    return (
      `<rect x="${x}" y="${y}" width="${CELL}" height="${CELL}" fill="${colour(fraction)}"/>` +
      `<text x="${x + CELL / 2}" y="${y + CELL / 2 + 4}" fill="${ink}" text-anchor="middle">${error.toFixed(2)}</text>`
    );
  });
  const ticks = [
    ...trends.map(
      (gain, i) => `<text x="${MARGIN + (i + 0.5) * CELL}" y="${MARGIN - 8}" text-anchor="middle">${gain}</text>`,
    ),
    ...levels.map(
      (gain, i) => `<text x="${MARGIN - 8}" y="${MARGIN + (i + 0.5) * CELL + 4}" text-anchor="end">${gain}</text>`,
    ),
  ];
  const width = MARGIN + trends.length * CELL + 20;
  const height = MARGIN + levels.length * CELL + 20;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" font-family="sans-serif" font-size="11">`,
    `<rect width="${width}" height="${height}" fill="white"/>`,
    `<text x="${MARGIN}" y="22" font-size="14">Forecast error, maximum temperature (°C)</text>`,
    `<text x="${MARGIN}" y="44">Seattle 2012–2015; trend gain →, level gain ↓</text>`,
    ...ticks,
    ...cells,
    "</svg>",
    "",
  ].join("\n");
}
