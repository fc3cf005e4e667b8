package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// ServerFile is the name of the server's configuration file in its directory.
const ServerFile = "config.yaml"

// Roles of `serverd run`.
const (
	RoleAPI   = "api"
	RoleRelay = "relay"
	RoleMedia = "media"
)

// Server is the configuration of `secmsg serverd run`. The doc tags are the
// comments of the sample file.
type Server struct {
	Data        string       `config:"data" doc:"directory of the keys and the database; the default is the directory of this file"`
	Domain      string       `config:"domain" doc:"domain of the realm: the part of every address after the @"`
	Address     string       `config:"address" doc:"HOST:PORT where clients connect, as named in invites"`
	Listen      string       `config:"listen" doc:"address of the public TLS listener; empty for none"`
	ListenPlain string       `config:"listen_plain" doc:"plain HTTP for a reverse proxy on this machine: a loopback address and port, or unix:PATH; X-Forwarded-For is trusted only here"`
	Roles       []string     `config:"roles" doc:"what this process serves: api, relay, media"`
	TLS         ServerTLS    `config:"tls"`
	Log         ServerLog    `config:"log"`
	Blob        ServerBlob   `config:"blob"`
	Media       ServerMedia  `config:"media"`
	Turn        ServerTurn   `config:"turn"`
	Limits      ServerLimits `config:"limits"`
}

// ServerTLS configures the certificate of the public listener.
type ServerTLS struct {
	Cert string   `config:"cert" doc:"PEM certificate chain to use instead of the one from the realm's own CA"`
	Key  string   `config:"key" doc:"PEM key of tls.cert"`
	Also []string `config:"also" doc:"PEM certificates with further keys that clients accept, such as that of a reverse proxy"`
}

// ServerLog configures the log.
type ServerLog struct {
	Level string `config:"level" doc:"debug, info, warn or error"`
}

// ServerBlob configures where files are stored: in a directory, or in S3 if it has an
// endpoint.
type ServerBlob struct {
	Dir string   `config:"dir" doc:"directory for the encrypted files, used by this server alone; the default is blobs in the data directory"`
	S3  ServerS3 `config:"s3"`
}

// ServerS3 configures an S3 store. Clients access it directly, with presigned URLs.
type ServerS3 struct {
	Endpoint      string `config:"endpoint" doc:"https://HOST[:PORT] of the store, which clients must reach too; http only on this machine; empty: files are stored in blob.dir"`
	Region        string `config:"region" doc:"the store's region"`
	Bucket        string `config:"bucket" doc:"the bucket, which must exist"`
	Prefix        string `config:"prefix" doc:"prefix of every key; this server alone may use keys with it"`
	AccessKey     string `config:"access_key" doc:"the access key"`
	SecretKey     string `config:"secret_key" doc:"the secret key; prefer secret_key_file"`
	AccessKeyFile string `config:"access_key_file" doc:"file that holds the access key"`
	SecretKeyFile string `config:"secret_key_file" doc:"file that holds the secret key"`
	CA            string `config:"ca" doc:"PEM root certificates that this server trusts instead of the system's; clients use their own system's"`
}

// Rate is a token bucket: Burst at once, then one more per Every.
type Rate struct {
	Burst int           `config:"burst" doc:"how many at once"`
	Every time.Duration `config:"every" doc:"then one more per this interval"`
}

// ServerLimits holds every limit, interval and retention that an operator may set (rpc/DELIVERY.md, "Limits").
type ServerLimits struct {
	Messages     Rate          `config:"messages" doc:"messages an account may send"`
	Mailbox      MailboxLimits `config:"mailbox"`
	Blobs        BlobLimits    `config:"blobs"`
	Lookups      Rate          `config:"lookups" doc:"lookups of new names, per account"`
	Bundles      Rate          `config:"bundles" doc:"prekey fetches, per requester and target"`
	Registration Rate          `config:"registration" doc:"registrations and linked devices, per address (/64 for IPv6)"`
	Manifests    Rate          `config:"manifests" doc:"new device manifests, per account"`
	Turn         TurnLimits    `config:"turn"`
	Logins       Rate          `config:"logins" doc:"challenges and token requests, per address"`
	Connections  ConnLimits    `config:"connections"`
	Contacts     int           `config:"contacts" doc:"entries in the contact and block list of one account"`
	OneTimeKeys  int           `config:"one_time_keys" doc:"one-time prekeys of each kind that are stored for a device"`
	HandoffSize  int           `config:"handoff_envelopes" doc:"envelopes in flight from memory to one device"`
	HandoffWait  time.Duration `config:"handoff_wait" doc:"how long a device may leave them unacknowledged before they go to its mailbox"`
	TokenLife    time.Duration `config:"token_life" doc:"lifetime of an access token"`
	NonceLife    time.Duration `config:"nonce_life" doc:"lifetime of a login challenge"`
	DeviceCache  time.Duration `config:"device_cache" doc:"how long the cached state of a device is used to check its token"`
	StoreGrace   time.Duration `config:"store_grace" doc:"how long known devices are still admitted while the database cannot be read"`
	Revocations  time.Duration `config:"revocation_poll" doc:"how often connections of revoked devices are searched for and closed"`
	Ping         time.Duration `config:"ping" doc:"how often an idle connection is pinged"`
	Write        time.Duration `config:"write" doc:"timeout for one write to a connection"`
	Header       time.Duration `config:"header" doc:"timeout for receiving the header of a request, including the TLS handshake"`
	Body         time.Duration `config:"body" doc:"timeout for receiving the body of a request"`
	Idle         time.Duration `config:"idle" doc:"how long an idle HTTP connection is kept open"`
	StepsFlush   time.Duration `config:"steps_flush" doc:"how often the step counts of fences are written to the database"`
	Sweep        time.Duration `config:"sweep" doc:"how often expired envelopes are deleted"`
	Statement    time.Duration `config:"statement_life" doc:"lifetime of the realm statement, which is signed again every hour"`
	Shutdown     time.Duration `config:"shutdown" doc:"timeout for a clean stop"`
}

// MailboxLimits bounds the mailbox of one device.
type MailboxLimits struct {
	Envelopes int           `config:"envelopes" doc:"envelopes in the mailbox of one device"`
	Bytes     Size          `config:"bytes" doc:"bytes in the mailbox of one device"`
	Retention time.Duration `config:"retention" doc:"how long an envelope waits for its device"`
}

// BlobLimits bounds the files of one account.
type BlobLimits struct {
	Quota      Size          `config:"quota" doc:"bytes of all files of an account, including unfinished uploads"`
	Size       Size          `config:"size" doc:"bytes of one encrypted file; at most 31GiB"`
	Count      int           `config:"count" doc:"files of an account"`
	Uploads    int           `config:"uploads" doc:"unfinished uploads of an account"`
	New        Rate          `config:"new" doc:"uploads that an account may start"`
	Bandwidth  Size          `config:"bandwidth" doc:"bytes per second for the files of all accounts together, both directions; 0: unlimited, otherwise at least 1MiB; not with S3, whose files do not pass through this server"`
	Transfers  int           `config:"transfers" doc:"parts of an account that are transferred at a time, uploads and downloads together"`
	Retention  time.Duration `config:"retention" doc:"how long a file is kept"`
	Unfinished time.Duration `config:"unfinished" doc:"how long a stalled upload is kept"`
	Stall      time.Duration `config:"stall" doc:"timeout for each 64 KiB of a part"`
}

// ConnLimits bounds the connections that have not presented a token yet.
type ConnLimits struct {
	PerAddress int  `config:"per_address" doc:"connections without a token, per address (/64 for IPv6)"`
	Total      int  `config:"total" doc:"connections without a token in total; 0: a tenth of the file descriptors"`
	New        Rate `config:"new" doc:"new connections per address"`
}

// DefaultServer returns the defaults (rpc/DELIVERY.md, "Limits").
func DefaultServer() Server {
	return Server{
		Listen: ":8443",
		Roles:  []string{RoleAPI, RoleRelay, RoleMedia},
		Log:    ServerLog{Level: "info"},
		Blob:   ServerBlob{S3: ServerS3{Region: "us-east-1"}},
		Media:  ServerMedia{Listen: DefaultMediaListen, RelayPorts: "49152-65535"},
		Limits: ServerLimits{
			Messages: Rate{Burst: 5000, Every: 10 * time.Millisecond},
			Mailbox:  MailboxLimits{Envelopes: 10_000, Bytes: 100 << 20, Retention: 30 * day},
			Blobs: BlobLimits{
				Quota: 10 << 30, Size: 2 << 30, Count: 20_000, Uploads: 1_000, Transfers: 32,
				New:       Rate{Burst: 1_000, Every: 100 * time.Millisecond},
				Retention: 30 * day, Unfinished: day, Stall: 20 * time.Second,
			},
			Lookups:      Rate{Burst: 60, Every: time.Minute},
			Bundles:      Rate{Burst: 6, Every: 10 * time.Minute},
			Registration: Rate{Burst: 6, Every: 2 * time.Minute},
			Manifests:    Rate{Burst: 60, Every: time.Minute},
			Turn: TurnLimits{
				Allocations: 5, Total: 2_000, Bandwidth: 2 << 20, Lifetime: maxTurnLifetime, Session: day,
				Requests: Rate{Burst: 100, Every: 50 * time.Millisecond}, Credentials: Rate{Burst: 30, Every: 10 * time.Second},
			},
			Logins:      Rate{Burst: 600, Every: 100 * time.Millisecond},
			Connections: ConnLimits{PerAddress: 50, New: Rate{Burst: 20, Every: 50 * time.Millisecond}},
			Contacts:    10_000,
			OneTimeKeys: 100,
			HandoffSize: 256,
			HandoffWait: 250 * time.Millisecond,
			TokenLife:   10 * time.Minute,
			NonceLife:   time.Minute,
			DeviceCache: 2 * time.Second,
			StoreGrace:  10 * time.Second,
			Revocations: 2 * time.Second,
			Ping:        25 * time.Second,
			Write:       10 * time.Second,
			Header:      10 * time.Second,
			Body:        20 * time.Second,
			Idle:        90 * time.Second,
			StepsFlush:  5 * time.Second,
			Sweep:       time.Minute,
			Statement:   7 * day,
			Shutdown:    15 * time.Second,
		},
	}
}

// ServerDir returns the server's data directory: flag if it is not empty, otherwise
// SECMSG_DATA, otherwise /var/lib/secmsg for root and a directory in the user's data
// home for everybody else.
func ServerDir(flag string) (string, error) {
	for _, dir := range []string{flag, os.Getenv(EnvName("data"))} {
		if dir != "" {
			return filepath.Abs(dir)
		}
	}
	if os.Getuid() == 0 {
		return "/var/lib/secmsg", nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("data directory: %w", err)
	}
	return filepath.Join(xdg("XDG_DATA_HOME", home, ".local/share"), "secmsg-server"), nil
}

// LoadServer reads the configuration of the server in directory data, which may be
// empty if file is given. It reads file, or config.yaml in data if file is empty; then
// the environment overrides the file, and values override both. A non-empty data
// overrides the directory in the file.
func LoadServer(data, file string, values map[string]any) (Server, error) {
	s := DefaultServer()
	src := Source{File: file, Values: maps.Clone(values)}
	if data != "" {
		if src.Values == nil {
			src.Values = map[string]any{}
		}
		src.Values["data"] = data
	}
	if file == "" {
		src.File, src.Optional = filepath.Join(data, ServerFile), true
	}
	s.Data = filepath.Dir(src.File)
	if err := Load(src, &s); err != nil {
		return Server{}, err
	}
	var err error
	if s.Data, err = filepath.Abs(s.Data); err != nil {
		return Server{}, fmt.Errorf("data: %w", err)
	}
	return s, nil
}

// maxBlob bounds limits.blobs.size in bytes: the content of 4,000 parts of 8 MiB.
const maxBlob = 31 << 30

// minBandwidth is the minimum of limits.blobs.bandwidth in bytes per second. With
// less, a single part of a file takes longer than clients wait.
const minBandwidth = 1 << 20

// unboundedAtZero are the limits that may be 0, with a special meaning for each.
var unboundedAtZero = []string{"limits.connections.total", "limits.blobs.bandwidth"}

// Validate reports every invalid value, in one joined error.
func (s *Server) Validate() error {
	var problems []error
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if s.Domain == "" {
		bad("domain: missing (serverd init writes it)")
	}
	if s.Data == "" {
		bad("data: missing")
	}
	if s.Listen == "" && s.ListenPlain == "" {
		bad("listen: listen and listen_plain are both empty, so there is no listener")
	}
	if s.Address != "" {
		if _, _, err := net.SplitHostPort(s.Address); err != nil {
			bad("address: %q is not HOST:PORT", s.Address)
		}
	}
	if s.ListenPlain != "" && !localAddress(s.ListenPlain) {
		bad("listen_plain: %q is neither a loopback address with a port nor unix:PATH", s.ListenPlain)
	}
	if (s.TLS.Cert == "") != (s.TLS.Key == "") {
		bad("tls.cert, tls.key: only one of the two is set")
	}
	for _, r := range s.Roles {
		if r != RoleAPI && r != RoleRelay && r != RoleMedia {
			bad("roles: %q is not one of api, relay, media", r)
		}
	}
	if len(s.Roles) == 0 {
		bad("roles: empty")
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, s.Log.Level) {
		bad("log.level: %q is not one of debug, info, warn, error", s.Log.Level)
	}
	problems = append(problems, s.Blob.S3.validate(), s.Media.validate(), s.Turn.validate())
	if s.Limits.Turn.Lifetime > maxTurnLifetime {
		bad("limits.turn.lifetime: must be at most %s", FormatDuration(maxTurnLifetime))
	}
	if s.Limits.Blobs.Size > maxBlob {
		bad("limits.blobs.size: must be at most 31GiB")
	}
	if s.Limits.Connections.Total < 0 {
		bad("limits.connections.total: must not be negative; 0 means a tenth of the file descriptors")
	}
	if b := s.Limits.Blobs.Bandwidth; b < 0 || b > 0 && b < minBandwidth {
		bad("limits.blobs.bandwidth: must be 0 or at least 1MiB")
	} else if b > 0 && s.Blob.S3.Endpoint != "" {
		bad("limits.blobs.bandwidth: cannot be set with S3, whose files do not pass through this server")
	}
	for _, e := range entries(s) {
		if !strings.HasPrefix(e.key, "limits.") || slices.Contains(unboundedAtZero, e.key) {
			continue
		}
		if e.value.CanInt() && e.value.Int() <= 0 {
			bad("%s: must be greater than zero", e.key)
		}
	}
	return errors.Join(problems...)
}

// bucketLetters are the characters allowed in the name of a bucket.
const bucketLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"

// validate checks the section blob.s3; without an endpoint nothing else may be set.
func (s *ServerS3) validate() error {
	if s.Endpoint == "" {
		if *s != (ServerS3{Region: s.Region}) {
			return errors.New("blob.s3.endpoint: missing, although other options of the section are set")
		}
		return nil
	}
	var problems []error
	u, err := url.Parse(s.Endpoint)
	switch {
	case err != nil || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
		problems = append(problems, errors.New("blob.s3.endpoint: not https://HOST[:PORT]"))
	case u.Scheme == "http" && u.Hostname() != "localhost" && !net.ParseIP(u.Hostname()).IsLoopback(), u.Scheme != "https" && u.Scheme != "http":
		problems = append(problems, errors.New("blob.s3.endpoint: must be an https URL, or http on this machine"))
	}
	for _, o := range []struct{ key, value string }{{"bucket", s.Bucket}, {"region", s.Region}} {
		if o.value == "" {
			problems = append(problems, fmt.Errorf("blob.s3.%s: missing", o.key))
		}
	}
	if strings.TrimLeft(s.Bucket, bucketLetters) != "" || strings.Contains(s.Bucket, "..") {
		problems = append(problems, errors.New("blob.s3.bucket: not a valid bucket name"))
	}
	// A store that is backed by a directory would map some of these names to other keys
	// than S3 does.
	if s.Prefix != "" && !fs.ValidPath(strings.TrimSuffix(s.Prefix, "/")) || strings.ContainsFunc(s.Prefix, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\\' }) {
		problems = append(problems, errors.New("blob.s3.prefix: must be names between slashes, none of them empty, . or .. (example: chat.example.com/)"))
	}
	for _, o := range []struct{ key, value, file string }{{"access_key", s.AccessKey, s.AccessKeyFile}, {"secret_key", s.SecretKey, s.SecretKeyFile}} {
		if (o.value == "") == (o.file == "") {
			problems = append(problems, fmt.Errorf("blob.s3.%s: exactly one of this and %s_file must be set", o.key, o.key))
		}
	}
	return errors.Join(problems...)
}

// localAddress reports whether a can be reached only from this machine.
func localAddress(a string) bool {
	if path, ok := strings.CutPrefix(a, "unix:"); ok {
		return path != ""
	}
	host, _, err := net.SplitHostPort(a)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
