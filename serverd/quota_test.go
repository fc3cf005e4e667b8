package serverd_test

import (
	"errors"
	"net/http"
	"testing"

	"secmsg/config"
	"secmsg/rpc/admin"
	"secmsg/rpc/wire"
)

// An administrator sees the usage of an account's files, and sets its quota, which applies at once.
func TestQuota(t *testing.T) {
	s := start(t, func(c *config.Server) { c.Limits.Blobs.Quota = 100 })
	u := s.join("alice")
	c, token := s.client(), u.token(s.client(), wire.RoleAPI)
	create := func(size int64) int {
		return s.call(c, "POST", "/v1/blobs", token, wire.CreateBlob{Readers: []string{}, Size: size}, nil)
	}
	if create(60) != http.StatusOK || create(60) != http.StatusTooManyRequests {
		t.Fatal("the configured quota is not enforced")
	}
	a := s.admin()
	q, err := a.Quota(t.Context(), "alice")
	if err != nil || q != (admin.Quota{Name: "alice", Quota: 100, Used: 60, Files: 1, Unfinished: 1}) {
		t.Fatal(q, err)
	}
	if q, err = a.SetQuota(t.Context(), "alice", 120); err != nil || !q.Own || q.Quota != 120 || create(60) != http.StatusOK {
		t.Fatal(q, err)
	}
	if q, err = a.SetQuota(t.Context(), "alice", 0); err != nil || q.Own || q.Quota != 100 || q.Used != 120 || create(1) != http.StatusTooManyRequests {
		t.Fatal(q, err)
	}
	var refused *admin.Error
	if _, err := a.SetQuota(t.Context(), "alice", -1); !errors.As(err, &refused) || refused.Code != admin.CodeMalformed {
		t.Error(err)
	}
	if _, err := a.Quota(t.Context(), "nobody"); !errors.As(err, &refused) || refused.Code != admin.CodeNotFound {
		t.Error(err)
	}
	st, err := a.Stats(t.Context())
	if err != nil || st.Counters["blobs"] == nil {
		t.Error(st.Counters, err)
	}
}
