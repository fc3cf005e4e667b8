package daemon

import "testing"

func TestAccountsLine(t *testing.T) {
	for _, c := range []struct {
		accounts, up int
		want         string
	}{
		{0, 0, "no account"},
		{1, 1, "1 account, connected"}, {1, 0, "1 account, not connected"},
		{2, 2, "2 accounts, connected"}, {2, 1, "2 accounts, 1 connected"}, {2, 0, "2 accounts, not connected"},
	} {
		if got := accountsLine(c.accounts, c.up); got != c.want {
			t.Errorf("%d of %d: %q, want %q", c.up, c.accounts, got, c.want)
		}
	}
}
