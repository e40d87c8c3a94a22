/** Text that can be shown as it is: nothing in it moves the cursor, turns the writing direction, or is half a character. */
export function isPrintable(text: string): boolean {
  return !/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u.test(text);
}
