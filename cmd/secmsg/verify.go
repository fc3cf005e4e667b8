package main

import (
	"context"
	"strings"

	"secmsg/rpc/local"

	"github.com/mdp/qrterminal/v3"
	"github.com/spf13/cobra"
)

const (
	// safetyDigits is the length of a safety number.
	safetyDigits = 60
	// safetyGroup and safetyLine are how it is printed: groups of five, four to a line.
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
		Short: "Print the safety number of a peer, or compare it",
		Long: "Print the 60-digit safety number of the keys of a peer and your own. Both sides\n" +
			"see the same number. Compare it over another channel, then mark the peer as\n" +
			"verified with --confirm, or let --expect compare it: exit 4 if it differs.",
		Args: argsBetween(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.hasExpect = cmd.Flags().Changed("expect")
			return runVerify(cmd.Context(), a, o, args[0])
		},
	}
	c.Flags().StringVar(&o.expect, "expect", "", "compare with this `NUMBER` and mark the peer as verified")
	c.Flags().BoolVar(&o.confirm, "confirm", false, "mark the peer as verified: a person has compared the number")
	c.Flags().BoolVar(&o.qr, "qr", false, "print the number as a QR code too")
	return c
}

func runVerify(ctx context.Context, a *app, o verifyOptions, peer string) error {
	p := local.VerifyParams{Confirm: o.confirm}
	if o.hasExpect {
		if o.confirm {
			return usagef("--expect and --confirm exclude each other")
		}
		digits, err := safetyNumber(o.expect)
		if err != nil {
			return err
		}
		p.Expect = digits
	}
	return a.withDaemon(ctx, func(c *local.Client) error {
		p.PeerParams = a.peerParams(peer)
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

// safetyNumber reads 60 digits, in groups or not.
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
	var b strings.Builder
	b.WriteString(visible(v.Peer) + " " + visible(v.Trust) + "\n")
	b.WriteString(groupDigits(visible(v.SafetyNumber)))
	b.WriteString("fingerprint: " + visible(v.Fingerprint) + "\n")
	if qr {
		content := string(v.QR)
		if content == "" {
			content = v.SafetyNumber
		}
		qrterminal.GenerateWithConfig(content, qrterminal.Config{
			Level: qrterminal.M, Writer: &b, HalfBlocks: true, QuietZone: 2,
			BlackChar: qrterminal.BLACK_BLACK, WhiteChar: qrterminal.WHITE_WHITE,
			BlackWhiteChar: qrterminal.BLACK_WHITE, WhiteBlackChar: qrterminal.WHITE_BLACK,
		})
	}
	return a.writeRaw([]byte(b.String()))
}

// groupDigits prints a safety number in groups, which a person can read out.
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
