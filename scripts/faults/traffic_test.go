//go:build linux

package faults

import (
	"encoding/json"
	"strings"

	"secmsg/rpc/local"
	"secmsg/scripts/soaktest/ledger"
)

// lines sends many messages by one command, and records them.
func (r *rig) lines(from, to string, texts []string) {
	r.t.Helper()
	out, err := r.w.Must(r.t.Context(), from, strings.Join(texts, "\n")+"\n", "send", to, "--lines", "--wait", "queued", "-o", "json")
	r.check(err)
	i := 0
	for line := range strings.Lines(out) {
		var one local.SendResult
		r.check(json.Unmarshal([]byte(line), &one))
		if i >= len(texts) || one.ID == "" {
			r.t.Fatalf("line %d of %d of send --lines: %q", i, len(texts), line)
		}
		r.rec.Sent(ledger.Send{From: from, To: to, Text: texts[i], IDs: []string{one.ID}, Attempts: 1})
		i++
	}
	if i != len(texts) {
		r.t.Fatalf("send --lines printed %d results for %d lines", i, len(texts))
	}
}
