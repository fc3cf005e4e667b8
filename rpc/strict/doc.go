// Package strict decodes JSON requests. It accepts only text that every careful
// parser reads the same way: UTF-8, no member twice, member names spelt exactly
// as the contract spells them, no members that the contract does not have, and
// nothing after the value. encoding/json accepts all of these, and would, for
// example, let a later "PEERS" replace an earlier "peers".
//
// Only requests are decoded with it. Readers of answers stay tolerant, so that
// a newer daemon or server may add fields. It has no state that callers see and
// is safe for concurrent use.
package strict
