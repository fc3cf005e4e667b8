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
	// clockSkew is how far the clocks of the server that hands out credentials
	// and of the one that takes them may be apart.
	clockSkew = time.Minute
	// maxUsername bounds a username in bytes: expiry, an account name of at most
	// 64 and 16 digits; STUN itself allows 508 (RFC 8489, 14.3).
	maxUsername = 128
	// usernameNonce is the length of the random part of a username in bytes. It
	// keeps two credentials of one second apart.
	usernameNonce = 8
	// selfAccount is the account of the self-test. No account has a name like it.
	selfAccount = "!self-test"
)

// errCredential says that a username cannot be one of ours, or is expired.
var errCredential = errors.New("media: the username is not one that is good now")

// Mint makes credentials of account that are good for life after now: a username
// "<unix time of expiry>:<account>:<random>" and the base64 of its HMAC-SHA1
// under secret. That is the "REST API for TURN" (draft-uberti-behave-turn-rest-00),
// which coturn takes with use-auth-secret. SHA-1 is what the others speak; as a
// MAC it is not broken.
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

// longTermKey is the key of RFC 8489, 9.2.2, which signs the messages of a username.
func (s *Server) longTermKey(username string) []byte {
	return turn.GenerateAuthKey(username, s.opt.Realm, macOf(s.opt.Secret, username))
}

// parseUsername reads account and expiry of a username.
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

// mayBegin says whether a username is good for a new allocation, and whose it
// is: it is not expired, would not have been made for longer than MaxLifetime,
// and was not made before its account was dropped.
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

// mayContinue says whether the username of a session may still refresh it.
// Credentials are for beginning: a call may last longer than they do, with the
// same username from the same address, as with coturn, but not for ever.
func (s *Server) mayContinue(e *session, username string) bool {
	return e != nil && e.username == username && s.opt.Now().Sub(e.created) < s.opt.Limits.Session
}

// authorize is what pion asks for the key of a request. The username is also the
// user id, so that other credentials, even of the same account, are no good for
// an allocation (RFC 8656, 7.2 and 5).
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
