// Package screen has the one rule of what a terminal may be given of a text that
// somebody else wrote: a peer, a server, a store. It is pure and safe for
// concurrent use, except that a Writer belongs to one goroutine.
//
// A terminal gets a character as it is if the eye sees it, and made visible, as
// an escape such as \x1b or \u202e, if not:
//
//   - control characters, DEL, C1, line and paragraph separators, and bytes that
//     are not UTF-8 are made visible;
//   - so are characters that act without being seen: those that change the
//     direction of text, the zero-width ones and the fillers;
//   - zero-width joiner and non-joiner stay between letters of a script that
//     needs them (Persian, the Indic ones), and the joiner within an emoji;
//   - variation selectors stay behind a character that has variants;
//   - at most MaxMarks combining marks stay on one character, and none without a
//     character before it, which would sit on what this program printed.
package screen
