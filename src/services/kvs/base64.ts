/** Base64 as the values of tree objects have it: a quick check, without decoding. Pure. */

/** Whether a text is base64 with padding. */
export function isBase64(text: string): boolean {
  return text.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(text);
}
