package admin

import (
	"context"
	"net/http"
)

// Quota answers GET and PUT /users/{name}/quota: the quota and usage of an account's files.
type Quota struct {
	Name  string `json:"name"`
	Quota int64  `json:"quota"` // bytes
	// Own reports that the quota was set for this account; otherwise it is the configuration's.
	Own bool `json:"own"`
	// Used is the number of reserved bytes: of stored files, uploads, and deleted files that are not
	// swept yet.
	Used       int64 `json:"used"`
	Files      int   `json:"files"`
	Unfinished int   `json:"unfinished"` // of Files
}

// SetQuota is the body of PUT /users/{name}/quota.
type SetQuota struct {
	Bytes int64 `json:"bytes"` // 0 restores the configuration's quota
}

// Quota returns the quota and usage of an account's files.
func (c *Client) Quota(ctx context.Context, name string) (Quota, error) {
	var out Quota
	return out, c.call(ctx, http.MethodGet, userPath(name, "/quota"), nil, &out)
}

// SetQuota gives an account its own quota. Files above a smaller quota stay until they expire.
func (c *Client) SetQuota(ctx context.Context, name string, bytes int64) (Quota, error) {
	var out Quota
	return out, c.call(ctx, http.MethodPut, userPath(name, "/quota"), SetQuota{Bytes: bytes}, &out)
}
