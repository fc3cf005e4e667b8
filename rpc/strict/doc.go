// Package strict decodes JSON requests. It accepts only text that every careful parser reads the same
// way: UTF-8, no duplicate member, member names spelt exactly as in the contract, no members outside of
// the contract, and nothing after the value. encoding/json accepts violations of all of these; for
// example, a later "PEERS" would replace an earlier "peers".
//
// Only requests are decoded with it. Readers of responses stay tolerant, so that a newer daemon or
// server may add fields. The package has no visible state and is safe for concurrent use.
package strict
