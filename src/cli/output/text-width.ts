/**
 * How wide text is on a terminal: ideographs, kana, Hangul syllables and full-width forms take two columns, marks that
 * combine with the letter before them none. Pure.
 *
 * Emoji count one, as in the formats of flux-core, whose columns are made for that.
 */

const SIMPLE = /^[\u0020-\u02ff]*$/;
const WIDE =
  /[\u1100-\u115f\u2e80-\u2fff\u3001-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff01-\uff60\uffe0-\uffe6\u{20000}-\u{3fffd}]/u;
const COMBINING = /[\p{Mn}\p{Me}\u200b-\u200d]/u;

function columnsOfLetter(letter: string): number {
  return WIDE.test(letter) ? 2 : COMBINING.test(letter) ? 0 : 1;
}

/** The columns that a text takes. */
export function columnsOf(text: string): number {
  if (SIMPLE.test(text)) return text.length;
  let columns = 0;
  for (const letter of text) columns += columnsOfLetter(letter);
  return columns;
}

/** As much of the beginning of a text as fits. */
export function cutToColumns(text: string, columns: number): string {
  if (SIMPLE.test(text)) return text.slice(0, Math.max(0, columns));
  let room = columns;
  let kept = "";
  for (const letter of text) {
    room -= columnsOfLetter(letter);
    if (room < 0) break;
    kept += letter;
  }
  return kept;
}
