/**
 * The pax record in which a dump tells the names of a key, joined by dots, where its path in the archive does not: a name
 * may have a slash in it, which in a path sets names apart.
 */
export const KEY_RECORD = "FLUX.key";
