package media

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/pion/turn/v5"
)

const (
	// clockSkew is the tolerated difference between the clocks of the server that issues credentials
	// and the one that accepts them.
	clockSkew = time.Minute
	// maxUsername bounds a username in bytes: expiry, an account name of at most 64, and 16 hexadecimal
	// digits. STUN itself allows 508 (RFC 8489, section 14.3).
	maxUsername = 128
	// usernameNonce is the length of the random part of a username in bytes. It makes two credentials
	// issued within one second different.
	usernameNonce = 8
	// selfAccount is the account name of the self-test. It is not a valid account name, so no user has
	// it.
	selfAccount = "!self-test"
)

// errCredential refuses a username that is not in our format or has expired.
var errCredential = errors.New("media: the username is invalid or has expired")

// Mint issues credentials for account that are valid for life after now: a username "<unix time of
// expiry>:<account>:<random>" and, as the password, the base64 of its HMAC-SHA1 under secret. This is
// the "REST API for TURN" (draft-uberti-behave-turn-rest-00), which coturn implements as
// use-auth-secret. SHA-1 is required for compatibility; as a MAC it is not broken.
func Mint(secret []byte, account string, now time.Time, life time.Duration) (username, password string, expires time.Time) {
	var random [usernameNonce]byte
	rand.Read(random[:])
	expires = time.Unix(now.Add(life).Unix(), 0)
	username = strconv.FormatInt(expires.Unix(), 10) + ":" + account + ":" + hex.EncodeToString(random[:])
	return username, macOf(secret, username), expires
}

func macOf(secret []byte, username string) string {
	mac := hmac.New(sha1.New, secret)
	mac.Write([]byte(username))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// longTermKey is the key of RFC 8489, section 9.2.2, which authenticates messages under a username.
func (s *Server) longTermKey(username string) []byte {
	return turn.GenerateAuthKey(username, s.opt.Realm, macOf(s.opt.Secret, username))
}

// parseUsername returns the account and the expiry of a username.
func parseUsername(username string) (account string, expires time.Time, err error) {
	if len(username) > maxUsername {
		return "", time.Time{}, errCredential
	}
	digits, rest, ok := strings.Cut(username, ":")
	account, random, ok2 := strings.Cut(rest, ":")
	seconds, err := strconv.ParseInt(digits, 10, 64)
	if !ok || !ok2 || err != nil || seconds <= 0 || account == "" || random == "" {
		return "", time.Time{}, errCredential
	}
	return account, time.Unix(seconds, 0), nil
}

// mayBegin reports whether a username may create an allocation, and returns its account. The username
// must not have expired, must not be valid for longer than MaxLifetime, and must have been issued after
// the account was last dropped.
func (s *Server) mayBegin(username string) (account string, err error) {
	account, expires, err := parseUsername(username)
	if err != nil {
		return "", err
	}
	now := s.opt.Now()
	if !now.Before(expires) || expires.After(now.Add(MaxLifetime+clockSkew)) || s.sessions.dropped(account, expires) {
		return "", errCredential
	}
	return account, nil
}

// mayContinue reports whether the username of a session may still refresh it. Credentials only limit
// the start: as with coturn, a call may outlast them with the same username and address, but not for
// ever.
func (s *Server) mayContinue(e *session, username string) bool {
	return e != nil && e.username == username && s.opt.Now().Sub(e.created) < s.opt.Limits.Session
}

// authorize returns the key of a request to pion. The username is also the user id, so other
// credentials cannot use the allocation, even those of the same account (RFC 8656, sections 7.2 and 5).
func (s *Server) authorize(ra *turn.RequestAttributes) (userID string, key []byte, ok bool) {
	from, known := endpointOf(ra.SrcAddr)
	if !known || !s.authorized(ra.Realm, ra.Username, s.sessions.at(from)) {
		s.counters.refusedLogin.Add(1)
		return "", nil, false
	}
	return ra.Username, s.longTermKey(ra.Username), true
}

func (s *Server) authorized(realm, username string, e *session) bool {
	if realm != s.opt.Realm {
		return false
	}
	if s.mayContinue(e, username) {
		return true
	}
	_, err := s.mayBegin(username)
	return err == nil
}
