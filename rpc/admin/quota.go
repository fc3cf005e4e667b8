package admin

import (
	"context"
	"net/http"
)

// Quota answers GET and PUT /users/{name}/quota: what an account's files take.
type Quota struct {
	Name  string `json:"name"`
	Quota int64  `json:"quota"` // bytes
	// Own says that the quota was set for this account; else it is the configuration's.
	Own bool `json:"own"`
	// Used is what is reserved, in bytes: files that are kept, being uploaded, or still to be swept.
	Used       int64 `json:"used"`
	Files      int   `json:"files"`
	Unfinished int   `json:"unfinished"` // of Files
}

// SetQuota is the body of PUT /users/{name}/quota.
type SetQuota struct {
	Bytes int64 `json:"bytes"` // 0: the configuration's again
}

// Quota shows what an account's files take.
func (c *Client) Quota(ctx context.Context, name string) (Quota, error) {
	var out Quota
	return out, c.call(ctx, http.MethodGet, userPath(name, "/quota"), nil, &out)
}

// SetQuota gives an account a quota of its own. Files beyond a smaller one stay
// until they expire.
func (c *Client) SetQuota(ctx context.Context, name string, bytes int64) (Quota, error) {
	var out Quota
	return out, c.call(ctx, http.MethodPut, userPath(name, "/quota"), SetQuota{Bytes: bytes}, &out)
}
