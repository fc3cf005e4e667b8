// Package screen decides how text from a peer, a server or a store is written to a terminal. It is pure
// and safe for concurrent use, except that a Writer belongs to one goroutine.
//
// A visible character is written as it is. Other characters are written as an escape, such as \x1b or
// \u202e:
//
//   - control characters, DEL, C1, line and paragraph separators, and bytes that are not UTF-8 are
//     escaped;
//   - so are characters with an invisible effect: those that change the direction of text, zero-width
//     characters and fillers;
//   - zero-width joiner and non-joiner stay between letters of a script that needs them (Persian, the
//     Indic ones), and the joiner within an emoji;
//   - variation selectors stay after a character that has variants;
//   - at most MaxMarks combining marks stay on one character, and none without a character before it,
//     since it would combine with our own output.
package screen
