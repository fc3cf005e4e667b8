package admin

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/http"

	"secmsg/crypto/key"
	rpc "secmsg/rpc/admin"
	"secmsg/serverd/store"
)

// listUsers serves GET /users?after=NAME.
func (s *Server) listUsers(r *http.Request) (rpc.Users, error) {
	list, err := s.opt.Store.ListAccounts(r.Context(), r.URL.Query().Get("after"), pageSize)
	if err != nil {
		return rpc.Users{}, err
	}
	out := rpc.Users{Users: make([]rpc.User, 0, len(list))}
	for _, a := range list {
		u, err := s.user(a)
		if err != nil {
			return rpc.Users{}, err
		}
		out.Users = append(out.Users, u)
	}
	if len(list) == pageSize {
		out.Next = list[len(list)-1].Name
	}
	return out, nil
}

// showUser serves GET /users/{name}.
func (s *Server) showUser(r *http.Request) (rpc.User, error) {
	a, err := s.opt.Store.Account(r.Context(), r.PathValue("name"))
	if err != nil {
		return rpc.User{}, err
	}
	u, err := s.user(a)
	if err != nil {
		return rpc.User{}, err
	}
	list, err := s.devices(r.Context(), a.Name)
	if err != nil {
		return rpc.User{}, err
	}
	for _, d := range list {
		if !d.Revoked {
			u.Devices = append(u.Devices, d)
		}
	}
	q, err := s.quotaOf(r.Context(), a.Name)
	if err != nil {
		return rpc.User{}, err
	}
	u.Quota = &q
	return u, nil
}

// deleteUser serves DELETE /users/{name}.
func (s *Server) deleteUser(r *http.Request) (none, error) {
	name := r.PathValue("name")
	if err := s.opt.Store.DeleteAccount(r.Context(), name); err != nil {
		return none{}, err
	}
	s.changed(name)
	return none{}, nil
}

// suspend serves POST /users/{name}/suspend and resume.
func (s *Server) suspend(on bool) func(*http.Request) (none, error) {
	return func(r *http.Request) (none, error) {
		name := r.PathValue("name")
		if err := s.opt.Store.SetSuspended(r.Context(), name, on); err != nil {
			return none{}, err
		}
		s.changed(name)
		return none{}, nil
	}
}

// listDevices serves GET /users/{name}/devices.
func (s *Server) listDevices(r *http.Request) (rpc.Devices, error) {
	name := r.PathValue("name")
	if _, err := s.opt.Store.Account(r.Context(), name); err != nil {
		return rpc.Devices{}, err
	}
	list, err := s.devices(r.Context(), name)
	return rpc.Devices{Devices: list}, err
}

func (s *Server) changed(account string) {
	if s.opt.Changed != nil {
		s.opt.Changed(account)
	}
}

// user returns the administrator's view of an account.
func (s *Server) user(a store.Account) (rpc.User, error) {
	pub, err := key.ParseSigningPublic(a.Identity)
	if err != nil {
		return rpc.User{}, fmt.Errorf("stored identity key of %s: %w", a.Name, err)
	}
	u := rpc.User{
		Name: a.Name, Address: a.Name + "@" + s.opt.Domain, Fingerprint: pub.Fingerprint(),
		Created: rpc.Time{Time: a.Created}, Suspended: a.Suspended, Manifest: a.ManifestVersion,
	}
	if len(a.Chain) > 0 {
		cert, err := x509.ParseCertificate(a.Chain[0])
		if err != nil {
			return rpc.User{}, fmt.Errorf("stored certificate of %s: %w", a.Name, err)
		}
		u.Certificate = rpc.Time{Time: cert.NotAfter}
	}
	return u, nil
}

func (s *Server) devices(ctx context.Context, name string) ([]rpc.Device, error) {
	list, err := s.opt.Store.Devices(ctx, name)
	if err != nil {
		return nil, err
	}
	out := make([]rpc.Device, 0, len(list))
	for _, d := range list {
		v := rpc.Device{
			ID: d.ID.String(), Name: d.Name, Added: rpc.Time{Time: d.Added}, LastSeen: rpc.Time{Time: d.LastSeen}, Revoked: d.Revoked,
		}
		if s.opt.Connected != nil && s.opt.Connected(d.ID) {
			// The store gets this time only when the connection ends.
			v.Connected, v.LastSeen = true, rpc.Time{Time: s.opt.Now()}
		}
		if !d.Revoked {
			if v.MailboxEnvelopes, v.MailboxBytes, err = s.opt.Store.MailboxSize(ctx, d.ID); err != nil {
				return nil, err
			}
		}
		out = append(out, v)
	}
	return out, nil
}
