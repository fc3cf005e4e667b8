package admin

import (
	"context"
	"net/http"

	rpc "secmsg/rpc/admin"
)

// quota serves GET /users/{name}/quota.
func (s *Server) quota(r *http.Request) (rpc.Quota, error) {
	a, err := s.opt.Store.Account(r.Context(), r.PathValue("name"))
	if err != nil {
		return rpc.Quota{}, err
	}
	return s.quotaOf(r.Context(), a.Name)
}

// quotaOf returns the quota and usage of an existing account.
func (s *Server) quotaOf(ctx context.Context, name string) (rpc.Quota, error) {
	u, err := s.opt.Store.BlobUsage(ctx, name)
	if err != nil {
		return rpc.Quota{}, err
	}
	out := rpc.Quota{Name: name, Quota: s.opt.BlobQuota, Used: u.Bytes, Files: u.Blobs, Unfinished: u.Unfinished}
	if u.Quota > 0 {
		out.Quota, out.Own = u.Quota, true
	}
	return out, nil
}

// setQuota serves PUT /users/{name}/quota.
func (s *Server) setQuota(r *http.Request) (rpc.Quota, error) {
	var in struct { // rpc.SetQuota; 0 has a meaning, so the field must be present
		Bytes *int64 `json:"bytes"`
	}
	if err := decode(r, &in); err != nil {
		return rpc.Quota{}, err
	}
	if in.Bytes == nil || *in.Bytes < 0 {
		return rpc.Quota{}, malformed("bytes: missing or negative")
	}
	if err := s.opt.Store.SetBlobQuota(r.Context(), r.PathValue("name"), *in.Bytes); err != nil {
		return rpc.Quota{}, err
	}
	return s.quota(r)
}
