package config_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"secmsg/config"
)

func TestMediaRules(t *testing.T) {
	for text, want := range map[string]string{
		"media: {listen: nowhere}":                                                 "media.listen",
		"media: {relay_ports: \"5\"}":                                              "media.relay_ports",
		"media: {relay_ports: 9-5}":                                                "media.relay_ports",
		"media: {relay_ports: 0-5}":                                                "media.relay_ports",
		"media: {relay_ports: 1-65536}":                                            "media.relay_ports",
		"media: {public_address: here}":                                            "media.public_address",
		"media: {public_address: 0.0.0.0}":                                         "media.public_address",
		"media: {public_address: [192.0.2.1, 192.0.2.2]}":                          "only one address of each family",
		"media: {allow: [10.0.0.1/8]}":                                             "media.allow",
		"media: {allow: [\"::ffff:10.0.0.0/104\"]}":                                "media.allow",
		"media: {allow: [127.0.0.0/8]}":                                            "cannot be allowed",
		"media: {allow: [\"::1/128\"]}":                                            "cannot be allowed",
		"media: {allow: [0.0.0.0/0]}":                                              "cannot be allowed",
		"media: {allow: [\"::/0\"]}":                                               "cannot be allowed",
		"turn: {external: [\"http://x\"], secret: s}":                              "turn.external",
		"turn: {external: [\"turn:\"], secret: s}":                                 "turn.external",
		"turn: {external: [\"turn:a@b\"], secret: s}":                              "turn.external",
		"turn: {external: [\"turn:x:3478\"]}":                                      "turn.secret",
		"turn: {external: [" + strings.Repeat("\"stun:x\",", 17) + "], secret: s}": "turn.external",
		"turn: {secret: s, secret_file: f}":                                        "only one of the two",
		"limits: {turn: {lifetime: 11m}}":                                          "limits.turn.lifetime",
		"limits: {turn: {allocations: 0}}":                                         "limits.turn.allocations",
		"limits: {turn: {requests: {burst: 0}}}":                                   "limits.turn.requests",
	} {
		if _, err := config.LoadServer("/d", write(t, "domain: d\n"+text), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
	t.Setenv("SECMSG_MEDIA_ALLOW", "10.1.0.0/16,fd00::/8")
	s, err := config.LoadServer("/d", write(t, "domain: d\nmedia: {public_address: 203.0.113.7, relay_ports: 5000-5009}\nturn: {external: [\"turns:t.example.com\"], secret_file: f}\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	first, last, err1 := s.Media.Ports()
	addrs, err2 := s.Media.Addresses()
	nets, err3 := s.Media.Networks()
	if err1 != nil || err2 != nil || err3 != nil || first != 5000 || last != 5009 || len(nets) != 2 || !slices.Equal(addrs, []netip.Addr{netip.MustParseAddr("203.0.113.7")}) {
		t.Errorf("%d-%d %v %v: %v %v %v", first, last, addrs, nets, err1, err2, err3)
	}
}
