/**
 * Figures: numbers as people read them.
 *
 * Not by `toLocaleString`, whose first call loads the tables of all languages: 20 ms of every start.
 *
 * Effects: none.
 *
 * @module
 */

/** 1048576 as 1,048,576. */
export function grouped(count: number): string {
  return String(count).replace(/\B(?=(\d{3})+(?!\d))/g, ",");
}
