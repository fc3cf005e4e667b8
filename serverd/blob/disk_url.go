package blob

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/url"
	"strconv"
	"strings"
	"time"

	"secmsg/rpc/wire"
)

// KeySize is the length of the key that signs URLs, in bytes: that of the hash (RFC 2104, section 3).
const KeySize = sha256.Size

// signLabel begins the signed text, so that no other use of one of our keys can produce such a
// signature.
const signLabel = "secmsg blob url v1"

// grant is the access that a URL allows.
type grant struct {
	method  string
	id      [16]byte
	account string
	number  int   // 0 for GET
	size    int64 // 0 for GET
	expires int64 // Unix milliseconds
}

// sign returns the HMAC-SHA256 (RFC 2104) over all fields. No field can contain a newline.
func (d *Disk) sign(g grant) []byte {
	mac := hmac.New(sha256.New, d.opt.Key)
	mac.Write([]byte(strings.Join([]string{
		signLabel, g.method, FormatID(g.id), g.account, strconv.Itoa(g.number), strconv.FormatInt(g.size, 10), strconv.FormatInt(g.expires, 10),
	}, "\n")))
	return mac.Sum(nil)
}

func (d *Disk) url(g grant) string {
	q := "?for=" + url.QueryEscape(g.account) + "&exp=" + strconv.FormatInt(g.expires, 10)
	if g.number > 0 {
		q += "&part=" + strconv.Itoa(g.number) + "&size=" + strconv.FormatInt(g.size, 10)
	}
	return wire.PathBlobData + FormatID(g.id) + q + "&sig=" + base64.RawURLEncoding.EncodeToString(d.sign(g))
}

// PutURL returns a signed URL for one part.
func (d *Disk) PutURL(_ context.Context, t Ticket, _ string, number int, size int64) (string, error) {
	return d.url(grant{"PUT", t.ID, t.Account, number, size, t.Expires.UnixMilli()}), nil
}

// GetURL returns a signed URL for a blob.
func (d *Disk) GetURL(_ context.Context, t Ticket) (string, error) {
	return d.url(grant{method: "GET", id: t.ID, account: t.Account, expires: t.Expires.UnixMilli()}), nil
}

// check parses a URL's grant and reports whether it is signed and has not expired. It does not say what
// is wrong with an invalid one.
func (d *Disk) check(method, id string, q url.Values, now time.Time) (grant, bool) {
	g := grant{method: method}
	fields := 3
	ok := true
	one := func(name string) string {
		v := q[name]
		if len(v) != 1 || len(v[0]) > maxField {
			ok = false
			return ""
		}
		return v[0]
	}
	number := func(name string) int64 {
		text := one(name)
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n <= 0 || strconv.FormatInt(n, 10) != text {
			ok = false
		}
		return n
	}
	var idOK bool
	g.id, idOK = ParseID(id)
	g.account, g.expires = one("for"), number("exp")
	if method == "PUT" {
		n := number("part")
		g.size, fields = number("size"), 5
		if n > wire.MaxBlobParts || g.size > wire.BlobPartSize {
			return g, false
		}
		g.number = int(n)
	}
	sig, err := base64.RawURLEncoding.Strict().DecodeString(one("sig"))
	if !ok || !idOK || err != nil || len(q) != fields || strings.Contains(g.account, "\n") {
		return g, false
	}
	return g, hmac.Equal(sig, d.sign(g)) && now.UnixMilli() < g.expires
}

// maxField bounds a field of the query in bytes: an account name has at most 64.
const maxField = 128
