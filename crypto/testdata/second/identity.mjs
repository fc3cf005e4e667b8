// SPEC from "Realm, certificates, statement, invite" to "Safety number".
import * as kem from './mlkem.mjs';
import { Reader, cat, checkExchange, checkSigning, equal, exchangePublic, lp16, lp8, refuse, sha256, sha512, sign, text, u16, u32, u64, u8, verify } from './primitives.mjs';

const MAX_TIME = 253402300799;
const DAY = 86400;
export const PREKEY_LIFE = 45 * DAY;
const DAY_OF_SKEW = DAY;

const input = (label, body) => cat(lp8(text(label)), body);
export const signed = (seed, label, body) => cat(body, sign(seed, input(label, body)));
export const signature = (seed, label, body) => sign(seed, input(label, body));

function checkSigned(publicKey, label, b, limit) {
  if (b.length <= 64 || b.length > limit) refuse('format', `${b.length} bytes`);
  const n = b.length - 64;
  if (!verify(publicKey, input(label, b.subarray(0, n)), b.subarray(n))) refuse('signature');
  return new Reader(b.subarray(0, n));
}

const time = (r) => r.u64(MAX_TIME);

// Names.
const USER = /^[a-z0-9][a-z0-9._-]{0,31}$/;
const LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
export const validDomain = (s) => s.length >= 1 && s.length <= 253 && s.split('.').every((l) => LABEL.test(l)) && !/^[0-9]+$/.test(s.split('.').at(-1));

export function parseAddress(s) {
  const [user, domain, ...more] = s.split('@');
  if (more.length || domain === undefined || !USER.test(user) || !validDomain(domain)) refuse('format', `${s} is no address`);
  return { user, domain };
}
const address = (s) => {
  const { user, domain } = parseAddress(s);
  return cat(lp8(text(user)), lp8(text(domain)));
};
const readAddress = (r) => {
  const s = `${r.sized8()}@${r.sized8()}`;
  parseAddress(s);
  return s;
};

export function validHostPort(s) {
  const m = /^(\[[0-9a-f:.]+\]|[^:]+)(?::([1-9][0-9]{0,4}))?$/.exec(s);
  if (!m || (m[2] && Number(m[2]) > 65535)) return false;
  if (m[1].startsWith('[')) {
    try {
      return new URL(`http://${m[1]}/`).hostname === m[1];
    } catch {
      return false;
    }
  }
  return validDomain(m[1]) || (/^(0|[1-9][0-9]{0,2})(\.(0|[1-9][0-9]{0,2})){3}$/.test(m[1]) && m[1].split('.').every((x) => Number(x) < 256));
}

const BASE32 = 'abcdefghijklmnopqrstuvwxyz234567';
export const deviceID = (signing, exchange) => sha256(cat(signing, exchange)).subarray(0, 16);
export function deviceText(id) {
  let bits = '';
  for (const b of id) bits += b.toString(2).padStart(8, '0');
  return bits.match(/.{1,5}/g).map((x) => BASE32[parseInt(x.padEnd(5, '0'), 2)]).join('');
}
export function parseDeviceText(s) {
  if (!/^[a-z2-7]{26}$/.test(s)) refuse('format', 'device id');
  const bits = [...s].map((c) => BASE32.indexOf(c).toString(2).padStart(5, '0')).join('');
  const id = Buffer.from(bits.slice(0, 128).match(/.{8}/g).map((x) => parseInt(x, 2)));
  if (deviceText(id) !== s) refuse('format', 'device id');
  return id;
}

// Device manifest.
const INVISIBLE = [
  [0x0000, 0x001f], [0x007f, 0x00a0], [0x00ad, 0x00ad], [0x034f, 0x034f], [0x061c, 0x061c], [0x115f, 0x1160], [0x1680, 0x1680],
  [0x17b4, 0x17b5], [0x180b, 0x180f], [0x2000, 0x200f], [0x2028, 0x202f], [0x205f, 0x206f], [0x3000, 0x3000], [0x3164, 0x3164],
  [0xd800, 0xf8ff], [0xfe00, 0xfe0f], [0xfeff, 0xfeff], [0xffa0, 0xffa0], [0xfff0, 0xffff], [0xe0000, 0x10ffff],
];
function deviceName(b) {
  let s;
  try {
    s = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(b);
  } catch {
    refuse('format', 'a name is UTF-8');
  }
  const bad = [...s].some((c) => INVISIBLE.some(([a, z]) => a <= c.codePointAt(0) && c.codePointAt(0) <= z));
  if (b.length < 1 || b.length > 64 || s[0] === ' ' || s.at(-1) === ' ' || bad) refuse('format', 'a name');
  return s;
}

const MANIFEST = 'secmsg v1 device manifest';
export function makeManifest(seed, m) {
  const devices = m.devices.map((d) => ({ ...d, id: deviceID(d.signing, d.exchange) })).sort((a, b) => Buffer.compare(a.id, b.id));
  const entries = devices.map((d) => cat(d.signing, d.exchange, lp8(text(d.name)), u64(d.added)));
  return signed(seed, MANIFEST, cat(u8(1), address(m.address), u64(m.version), m.previous, u64(m.time), u8(devices.length), ...entries));
}

export function readManifest(b, account, identity) {
  const r = checkSigned(identity, MANIFEST, b, 1771);
  if (r.u8() !== 1) refuse('format', 'version');
  if (readAddress(r) !== account) refuse('name');
  const m = { version: r.u64(), previous: r.take(32), time: time(r), devices: [] };
  if (m.version === 0 || (m.version === 1) !== equal(m.previous, Buffer.alloc(32))) refuse('format', 'version and previous');
  const n = r.u8();
  if (n < 1 || n > 10) refuse('format', `${n} devices`);
  for (let i = 0; i < n; i++) {
    const d = { signing: checkSigning(r.take(32)), exchange: checkExchange(r.take(32)), name: deviceName(r.sized8()), added: time(r) };
    d.id = deviceID(d.signing, d.exchange);
    if (i > 0 && Buffer.compare(m.devices[i - 1].id, d.id) >= 0) refuse('format', 'devices out of order');
    if (m.devices.some((e) => equal(e.exchange, d.exchange) || equal(e.signing, d.signing))) refuse('format', 'two devices with one key');
    m.devices.push(d);
  }
  r.end();
  return m;
}

// succession returns whether next may replace known: ok, older or fork.
export function succession(known, next, account, identity) {
  const [a, b] = [readManifest(known, account, identity), readManifest(next, account, identity)];
  if (b.version < a.version) return 'older';
  if (b.version === a.version) return equal(known, next) ? 'ok' : 'fork';
  return b.version === a.version + 1 && !equal(b.previous, sha256(known)) ? 'fork' : 'ok';
}

// Prekeys.
const PREKEY = 'secmsg v1 prekey';
const prekeyInput = (p, account, device) => cat(u8(1), u8(p.kind), address(account), device, u32(p.id), u64(p.expires), p.key);
export const makePrekey = (seed, device, account, p) =>
  cat(u8(1), u8(p.kind), u32(p.id), u64(p.expires), p.key, signature(seed, PREKEY, prekeyInput(p, account, device)));
export const prekeyPublic = (kind, secret) => (kind === 2 || kind === 4 ? kem.keys(secret).ek : exchangePublic(secret));

export function readPrekey(b, signing, device, account, now) {
  const r = new Reader(b);
  if (r.u8() !== 1) refuse('format', 'version');
  const p = { kind: r.u8(), id: r.u32(), expires: time(r) };
  if (p.kind < 1 || p.kind > 4 || p.id === 0) refuse('format', 'kind or id');
  const isKEM = p.kind === 2 || p.kind === 4;
  p.key = r.take(isKEM ? 1184 : 32);
  const sig = r.take(64);
  r.end();
  if (isKEM && !kem.valid(p.key)) refuse('format', 'encapsulation key');
  if (!isKEM) checkExchange(p.key);
  if (!verify(signing, input(PREKEY, prekeyInput(p, account, device)), sig)) refuse('signature');
  if (now > p.expires) refuse('expired');
  if (p.expires > now + PREKEY_LIFE + DAY_OF_SKEW) refuse('not yet valid', 'expires too late');
  return p;
}

// Proofs.
export const registration = (seed, account, identity, signing, exchange) =>
  signature(seed, 'secmsg v1 device registration', cat(u8(1), address(account), identity, signing, exchange));
export const challenge = (seed, account, device, role, nonce) =>
  signature(seed, 'secmsg v1 access challenge', cat(u8(1), address(account), device, lp8(text(role)), nonce));

// Realm statement.
const STATEMENT = 'secmsg v1 realm statement';
export const makeStatement = (seed, s) =>
  signed(seed, STATEMENT, cat(u8(1), lp8(text(s.domain)), s.epoch, u64(s.issued), u64(s.expires),
    u8(s.entries.length), ...s.entries.map((e) => lp16(text(e))), u8(s.tlsKeys.length), ...s.tlsKeys, lp8(s.logKey)));

export function readStatement(b, issuing) {
  const r = checkSigned(issuing, STATEMENT, b, 2986);
  if (r.u8() !== 1) refuse('format', 'version');
  const s = { domain: r.sized8().toString(), epoch: r.take(16), issued: time(r), expires: time(r), entries: [], tlsKeys: [] };
  if (!validDomain(s.domain) || s.expires <= s.issued || s.expires - s.issued > 7 * DAY) refuse('format', 'domain or life');
  const entries = r.u8();
  for (let i = 0; i < entries; i++) s.entries.push(r.sized16().toString());
  if (entries < 1 || entries > 8 || new Set(s.entries).size !== entries || !s.entries.every(validHostPort)) refuse('format', 'entries');
  const keys = r.u8();
  for (let i = 0; i < keys; i++) {
    const k = r.take(32);
    if (i > 0 && Buffer.compare(s.tlsKeys[i - 1], k) >= 0) refuse('format', 'TLS keys out of order');
    s.tlsKeys.push(k);
  }
  if (keys > 16) refuse('format', 'TLS keys');
  const log = r.sized8();
  if (log.length) checkSigning(log);
  r.end();
  return s;
}

// Invite.
export const inviteHash = (token) => sha256(cat(lp8(text('secmsg v1 invite token')), token));
export const makeInvite = (host, token, fingerprint) => `secmsg://${host}/join#${token.toString('base64url')}.${fingerprint.toString('base64url')}`;
export function parseInvite(s) {
  const m = /^secmsg:\/\/([^/#]+)\/join#([A-Za-z0-9_-]{22})\.([A-Za-z0-9_-]{43})$/.exec(s);
  if (!m || !validHostPort(m[1])) refuse('format', 'invite');
  const out = { host: m[1], token: Buffer.from(m[2], 'base64url'), fingerprint: Buffer.from(m[3], 'base64url') };
  if (makeInvite(out.host, out.token, out.fingerprint) !== s) refuse('format', 'unused bits');
  return out;
}

// Safety number.
function safetyHash(key, id) {
  let h = cat(u16(0), key, id);
  for (let i = 0; i < 5200; i++) h = sha512(cat(h, key));
  return h;
}
export function safetyNumber(a, aKey, b, bKey) {
  const hashes = [safetyHash(aKey, a), safetyHash(bKey, b)];
  const digits = hashes.map((h) =>
    Array.from({ length: 6 }, (_, i) => String(h.readUIntBE(5 * i, 5) % 100000).padStart(5, '0')).join(''));
  return {
    digits: digits.sort().join(''),
  };
}
