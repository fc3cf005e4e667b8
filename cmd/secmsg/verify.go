package main

import (
	"context"
	"strings"

	"secmsg/rpc/local"

	"github.com/spf13/cobra"
)

const (
	// safetyDigits is the length of a safety number.
	safetyDigits = 60
	// It is printed in groups of safetyGroup digits, safetyLine groups to a line.
	safetyGroup = 5
	safetyLine  = 4
)

// verifyOptions are the flags of verify.
type verifyOptions struct {
	expect    string
	hasExpect bool
	confirm   bool
	qr        bool
}

func newVerifyCommand(a *app) *cobra.Command {
	var o verifyOptions
	c := &cobra.Command{
		Use:   "verify PEER",
		Short: "Print or compare the safety number of a peer",
		Long: "Print the 60-digit safety number of the peer's key and your own. Both sides see\n" +
			"the same number. Compare it over another channel, then mark the peer as verified\n" +
			"with --confirm. Or let --expect compare it, which exits 4 if it differs.",
		Args: argsBetween(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.hasExpect = cmd.Flags().Changed("expect")
			return runVerify(cmd.Context(), a, o, args[0])
		},
	}
	c.Flags().StringVar(&o.expect, "expect", "", "compare with this `NUMBER` or with the text of the peer's QR code; if equal, mark the peer as verified")
	c.Flags().BoolVar(&o.confirm, "confirm", false, "mark the peer as verified, after you have compared the number")
	c.Flags().BoolVar(&o.qr, "qr", false, "also print a QR code, which the peer scans and passes to --expect")
	return c
}

func runVerify(ctx context.Context, a *app, o verifyOptions, peer string) error {
	p := local.VerifyParams{Confirm: o.confirm}
	var shown string // the peer who shows the QR code, if --expect is the text of one
	if o.hasExpect {
		if o.confirm {
			return usagef("--expect and --confirm cannot be combined")
		}
		var err error
		if shown, p.Expect, err = expectedNumber(o.expect); err != nil {
			return err
		}
	}
	return a.withDaemon(ctx, func(c *local.Client) error {
		p.PeerParams = a.peerParams(peer)
		if shown != "" {
			// The digits are the same on both sides. Without this check, the code that this
			// device itself shows would verify the peer.
			now, err := c.Verify(ctx, local.VerifyParams{PeerParams: p.PeerParams})
			if err != nil {
				return err
			}
			if now.Peer != shown {
				return usagef("--expect: this is the code of %s, not of %s", visible(shown), visible(now.Peer)).
					WithHint("scan the code that %s shows", visible(now.Peer))
			}
		}
		before, known := c.Contact(ctx, p.PeerParams)
		v, err := c.Verify(ctx, p)
		if err != nil {
			return err
		}
		if (p.Confirm || p.Expect != "") && a.json() {
			return a.printChanged(v, known != nil || before.Trust != v.Trust, "")
		}
		return a.printVerification(v, o.qr)
	})
}

// safetyNumber parses 60 digits, with or without spaces.
func safetyNumber(s string) (string, error) {
	digits := strings.Join(strings.Fields(s), "")
	if len(digits) != safetyDigits || strings.Trim(digits, "0123456789") != "" {
		return "", usagef("--expect: a safety number has %d digits", safetyDigits)
	}
	return digits, nil
}

func (a *app) printVerification(v local.Verification, qr bool) error {
	if a.json() {
		return a.printJSON(v)
	}
	if !qr {
		return a.printf("%s %s\n%sfingerprint: %s", visible(v.Peer), visible(v.Trust), groupDigits(visible(v.SafetyNumber)), visible(v.Fingerprint))
	}
	code, err := qrLines(v.QR)
	if err != nil {
		return err
	}
	if width := qrWidth(code); width > a.stdoutColumns() {
		a.notef("the QR code needs %d columns, but the terminal has %d: widen it, use a smaller font, or compare the number", width, a.stdoutColumns())
		return a.printf("%s %s\n%s", visible(v.Peer), visible(v.Trust), groupDigits(visible(v.SafetyNumber)))
	}
	// On one line, so that number and code together fit a terminal of 24 lines.
	if err := a.printf("%s %s\n%s", visible(v.Peer), visible(v.Trust), strings.Join(strings.Fields(groupDigits(visible(v.SafetyNumber))), " ")); err != nil {
		return err
	}
	return a.writeRaw([]byte(strings.Join(code, "\n") + "\n"))
}

// expectedNumber parses --expect: digits, or the text of a QR code, which also names
// the account that shows it.
func expectedNumber(s string) (shown, digits string, err error) {
	s = strings.TrimSpace(s)
	after, ok := strings.CutPrefix(s, "secmsg://")
	if !ok {
		digits, err = safetyNumber(s)
		return "", digits, err
	}
	domain, rest, ok := strings.Cut(after, "/verify#")
	dot := strings.LastIndexByte(rest, '.')
	if !ok || dot < 0 {
		return "", "", usagef("--expect: the text of a QR code has the form secmsg://DOMAIN/verify#USER.DIGITS")
	}
	digits, err = safetyNumber(rest[dot+1:])
	return rest[:dot] + "@" + domain, digits, err
}

// groupDigits formats a safety number in groups that a person can read out.
func groupDigits(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i += safetyGroup {
		b.WriteString(s[i:min(i+safetyGroup, len(s))])
		if (i/safetyGroup+1)%safetyLine == 0 || i+safetyGroup >= len(s) {
			b.WriteByte('\n')
		} else {
			b.WriteByte(' ')
		}
	}
	return b.String()
}
