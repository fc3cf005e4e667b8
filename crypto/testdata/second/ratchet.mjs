// SPEC "Session": handshake, ratchet, post-quantum ratchet, stored form.
import * as kem from './mlkem.mjs';
import { readManifest } from './identity.mjs';
import { Reader, Refused, cat, checkExchange, equal, exchange, exchangePublic, hkdf, hmac512, lp16, lp32, refuse, sha256, sha512, text, u16, u32, u64, u8 } from './primitives.mjs';
import { openBody, openHeader, pad, sealBody, sealHeader, unpad } from './seal.mjs';

const ZERO = Buffer.alloc(32);
const DAY = 86400;
const party = (p) => cat(lp16(text(p.address)), p.device);

export const minute = (now) => Math.min(Math.floor(now / 60), 2 ** 32 - 1);
export const ownGeneration = (known, now) => Math.min(Math.max(minute(now), ...known.map((g) => Math.min(g + 1, 2 ** 32 - 1))), minute(now) + 60);
export const acceptsGeneration = (generation, now) => generation <= minute(now) + 120;
export function prefers(a, b, now) {
  const effective = (s) => (acceptsGeneration(s.generation, now) ? s.generation : 0);
  return effective(a) !== effective(b) ? effective(a) > effective(b) : Buffer.compare(a.id, b.id) < 0;
}

function expand(ikm, salt, label) {
  const out = hkdf(ikm, salt, label, 96);
  return [out.subarray(0, 32), out.subarray(32, 64), out.subarray(64)];
}
function rootStep(rk, dh, secret) {
  return secret ? expand(cat(dh, secret.shared, sha256(cat(secret.ek, secret.ct))), rk, 'secmsg v1 root kem') : expand(dh, rk, 'secmsg v1 root');
}
const chainStep = (ck) => [hmac512(ck, u8(2)).subarray(0, 32), hmac512(ck, u8(1)).subarray(0, 32)];

// Prelude.
export function readPrelude(b) {
  if (b.length > 10240) refuse('format', 'prelude');
  const r = new Reader(b);
  const p = { generation: r.u32(), device: r.take(16), ephemeral: r.take(32), responderVersion: r.take(8), responderHash: r.take(32) };
  Object.assign(p, { signedPrekey: r.u32(), kemKind: r.u8(), kemPrekey: r.u32(), hasOneTime: r.flag(), oneTime: r.u32(), ct: r.take(1088) });
  p.chain = [r.sized16(2048), r.sized16(2048)];
  p.manifest = r.sized16(1771);
  const extensions = new Reader(r.sized16(3072));
  r.end();
  if (p.kemKind !== 2 && p.kemKind !== 4) refuse('format', 'KEM kind');
  if (!p.hasOneTime && p.oneTime !== 0) refuse('format', 'one-time prekey');
  checkExchange(p.ephemeral);
  for (let last = 0; extensions.left; ) {
    const type = extensions.u8();
    extensions.sized16(3072);
    if (type <= last || type >= 128) refuse('format', `extension ${type}`);
    last = type;
  }
  return p;
}
export const makePrelude = (p) =>
  cat(u32(p.generation), p.device, p.ephemeral, u64(p.responderVersion), p.responderHash, u32(p.signedPrekey), u8(p.kemKind), u32(p.kemPrekey),
    u8(p.oneTime ? 1 : 0), u32(p.oneTime ?? 0), p.ct, ...p.chain.map(lp16), lp16(p.manifest), u16(0));

export const handshakeHash = (initiator, responder, prelude) => sha256(cat('secmsg v1 handshake hash', party(initiator), party(responder), prelude));

// transcript takes both ends' public keys: address, account, device, signing, exchange.
export function transcript(a, b, spk, kemKey, opk, prelude) {
  const device = (d) => lp32(cat(d.device, d.signing, d.exchange));
  return sha512(cat(lp32(text('secmsg v1 transcript')), lp32(u8(1)), lp32(text(a.address)), lp32(text(b.address)), lp32(a.account), lp32(b.account),
    device(a), device(b), lp32(cat(u8(1), u32(spk.id), spk.key)), lp32(cat(u8(kemKey.kind), u32(kemKey.id), kemKey.key)),
    lp32(opk ? cat(u8(3), u32(opk.id), opk.key) : Buffer.alloc(0)), lp32(prelude)));
}

function start(role, self, peer, hash, handshake, generation, secrets, now) {
  const [RK, first, next] = expand(cat(...secrets), hash, 'secmsg v1 handshake keys');
  const s = {
    role, turn: false, sending: false, confirmed: false, self, peer, id: hash.subarray(0, 32), handshake, generation,
    RK, CKs: ZERO, HKs: ZERO, NHKs: ZERO, CKr: ZERO, HKr: ZERO, NHKr: ZERO, private: ZERO, public: ZERO, remote: ZERO,
    Ns: 0, PN: 0, Nr: 0, missing: 0, epoch: 0, sent: 0, next: 1, seen: 0, old: [], prelude: null, offerTime: now, unanswered: 0, offers: [],
    peerOffer: null, answer: null,
  };
  [s.NHKs, s.NHKr] = role === 1 ? [first, next] : [next, first];
  return s;
}

// initiate begins a session with the given ephemeral key and encapsulation.
export function initiate(a, b, prekeys, generation, chain, manifest, responder, ephemeral, m, now) {
  const kemKey = { kind: prekeys.kemKind, id: prekeys.kemID, key: kem.keys(prekeys.kemSeed).ek };
  const { shared, ct } = kem.encapsulate(kemKey.key, m);
  const spk = { id: prekeys.signedID, key: exchangePublic(prekeys.signed) };
  const opk = prekeys.oneTimeID ? { id: prekeys.oneTimeID, key: exchangePublic(prekeys.oneTime) } : null;
  const prelude = makePrelude({
    generation, device: a.device, ephemeral: exchangePublic(ephemeral), responderVersion: responder.version, responderHash: responder.hash,
    signedPrekey: spk.id, kemKind: kemKey.kind, kemPrekey: kemKey.id, oneTime: opk?.id, ct, chain, manifest,
  });
  const secrets = [exchange(a.private, spk.key), exchange(ephemeral, b.exchange), exchange(ephemeral, spk.key)];
  if (opk) secrets.push(exchange(ephemeral, opk.key));
  const hash = transcript(a, b, spk, kemKey, opk, prelude);
  const s = start(1, a, b, hash, handshakeHash(a, b, prelude), generation, [...secrets, shared], now);
  Object.assign(s, { turn: true, prelude, remote: spk.key });
  return { state: s, transcript: hash };
}

// accept creates the responder's state for a first message; b has the private keys.
export function accept(a, b, prekeys, meta, envelope, now) {
  checkMeta(meta, a, b);
  const e = readEnvelope(envelope);
  if (e.kind !== 1) refuse('format', 'not an initial message');
  const p = readPrelude(e.prelude);
  if (!acceptsGeneration(p.generation, now)) refuse('generation');
  let entry;
  try {
    entry = readManifest(p.manifest, a.address, a.account).devices.find((d) => equal(d.id, p.device));
  } catch (err) {
    if (err instanceof Refused) refuse('party', `manifest: ${err.message}`);
    throw err;
  }
  if (!entry || !equal(p.device, a.device)) refuse('party', 'device');
  if (p.signedPrekey !== prekeys.signedID || p.kemKind !== prekeys.kemKind || p.kemPrekey !== prekeys.kemID || (p.hasOneTime ? p.oneTime !== prekeys.oneTimeID : Boolean(prekeys.oneTimeID)))
    refuse('bundle');
  const kemKey = kem.keys(prekeys.kemSeed);
  const spk = { id: p.signedPrekey, key: exchangePublic(prekeys.signed) };
  const opk = p.hasOneTime ? { id: p.oneTime, key: exchangePublic(prekeys.oneTime) } : null;
  const secrets = [exchange(prekeys.signed, entry.exchange), exchange(b.private, p.ephemeral), exchange(prekeys.signed, p.ephemeral)];
  if (opk) secrets.push(exchange(prekeys.oneTime, p.ephemeral));
  secrets.push(kem.decapsulate(kemKey, p.ct));
  const from = { ...a, signing: entry.signing, exchange: entry.exchange };
  const hash = transcript(from, b, spk, { kind: p.kemKind, id: p.kemPrekey, key: kemKey.ek }, opk, e.prelude);
  const s = start(2, b, a, hash, handshakeHash(a, b, e.prelude), p.generation, secrets, now);
  Object.assign(s, { private: prekeys.signed, public: spk.key });
  return s;
}

// Envelope.
function readEnvelope(b) {
  if (b.length > 98304) refuse('format', 'envelope');
  const r = new Reader(b);
  if (r.u8() !== 1) refuse('version');
  const e = { kind: r.u8(), salt: r.take(16) };
  if (e.kind === 1) e.prelude = r.sized16(10240);
  else if (e.kind !== 2) refuse('format', 'kind');
  e.front = b.subarray(0, r.at);
  e.header = r.sized16(2321 + 16);
  e.prefix = b.subarray(0, r.at);
  e.body = r.rest();
  if (e.body.length < 208) refuse('format', 'body');
  return e;
}

function checkMeta(m, from, to) {
  const same = (p, q) => p.address === q.address && equal(p.device, q.device);
  if (m.class !== 1 && m.class !== 2) refuse('party', 'class');
  if (!same(m.sender, from) || !same(m.recipient, to)) refuse('party');
}
const associated = (m, kind, prefix) => cat('secmsg v1 message', u8(1), u8(m.class), u8(kind), party(m.sender), party(m.recipient), m.id, prefix);

// Header.
function makeHeader(h) {
  const flags = (h.offer ? 1 : 0) | (h.answer ? 2 : 0);
  const size = [41, 1229, 1229, 2321][flags];
  const b = cat(h.ratchet, u32(h.previous), u32(h.number), u8(flags), ...(h.offer ? [u32(h.offer.id), h.offer.ek] : []), ...(h.answer ? [u32(h.answer.id), h.answer.ct] : []));
  return cat(b, Buffer.alloc(size - b.length));
}
function readHeader(b) {
  const r = new Reader(b, 'peer');
  const h = { ratchet: checkExchange(r.take(32), 'peer'), previous: r.u32(), number: r.u32() };
  const flags = r.u8();
  if (flags > 3 || b.length !== [41, 1229, 1229, 2321][flags]) refuse('peer', 'header');
  if (flags & 1) h.offer = { id: r.u32(), ek: r.take(1184) };
  if (flags & 2) h.answer = { id: r.u32(), ct: r.take(1088) };
  if (r.rest().some((x) => x !== 0)) refuse('peer', 'zeros');
  return h;
}

const copy = (s) => ({ ...s, old: s.old.map((o) => ({ ...o })), offers: [...s.offers] });

// seal returns the next state and the envelope. draws contains the random values: the salt and, where they
// are needed, ratchet_private, encapsulation and offer_seed.
export function seal(state, m, own, content, now, draws) {
  checkMeta(m, state.self, state.peer);
  const s = copy(state);
  if (s.turn) {
    let secret = null;
    s.answer = null;
    if (s.peerOffer) {
      const { shared, ct } = kem.encapsulate(s.peerOffer.ek, draws.encapsulation);
      secret = { shared, ct, ek: s.peerOffer.ek };
      s.answer = { id: s.peerOffer.id, ct };
      s.peerOffer = null;
    }
    s.private = draws.ratchet_private;
    s.public = exchangePublic(s.private);
    s.HKs = s.NHKs;
    [s.RK, s.CKs, s.NHKs] = rootStep(s.RK, exchange(s.private, s.remote), secret);
    Object.assign(s, { PN: s.Ns, Ns: 0, turn: false, sending: true });
  }
  const due = s.sent >= 50 || now - s.offerTime >= DAY;
  const again = s.offers.length > 0 && s.unanswered >= 2;
  s.sent++;
  let offer = null;
  if (!s.prelude && (due || again)) {
    if (due && s.offers.length < 2) s.offers.push({ id: s.next++, seed: draws.offer_seed });
    const newest = s.offers.at(-1);
    offer = { id: newest.id, ek: kem.keys(newest.seed).ek };
    Object.assign(s, { sent: 1, offerTime: now, unanswered: 0 });
  }
  const header = makeHeader({ ratchet: s.public, previous: s.PN, number: s.Ns, offer, answer: s.answer });
  let key;
  [s.CKs, key] = chainStep(s.CKs);
  s.Ns++;
  const kind = s.prelude ? 1 : 2;
  const front = cat(u8(1), u8(kind), draws.salt, ...(s.prelude ? [lp16(s.prelude)] : []));
  const prefix = cat(front, lp16(sealHeader(s.HKs, draws.salt, front, header)));
  const body = sealBody(key, draws.salt, associated(m, kind, prefix), pad(cat(u64(own.version), own.hash, content)));
  return { state: s, envelope: cat(prefix, body) };
}

function locate(s, e, m) {
  if (e.kind === 1 && (s.role !== 2 || !equal(handshakeHash(m.sender, m.recipient, e.prelude), s.handshake))) refuse('no session');
  const tried = [];
  if (s.epoch > 0) tried.push([s.HKr, 'current']);
  if (!s.turn) tried.push([s.NHKr, 'next']);
  for (let i = s.old.length - 1; i >= 0; i--) tried.push([s.old[i].header, s.old[i]]);
  for (const [key, where] of tried) {
    const header = openHeader(key, e.salt, e.front, e.header);
    if (header) return { header, where };
  }
  return refuse('no session');
}

// open returns the next state, the content, the manifest, the message keys that
// were skipped and the one that was used. stored has the keys of earlier calls.
export function open(state, m, envelope, stored, now) {
  checkMeta(m, state.peer, state.self);
  const e = readEnvelope(envelope);
  const { header, where } = locate(state, e, m);
  const h = readHeader(header);
  if (e.kind === 1 && (h.offer || h.answer)) refuse('peer', 'KEM items in an initial message');
  const s = copy(state);
  const out = { state: s, skipped: [], used: null };
  const skipTo = (n) => {
    for (; s.Nr < n; s.Nr++, s.missing++) {
      let key;
      [s.CKr, key] = chainStep(s.CKr);
      out.skipped.push({ epoch: s.epoch, n: s.Nr, key });
    }
  };
  const step = (n) => {
    skipTo(n);
    let key;
    [s.CKr, key] = chainStep(s.CKr);
    s.Nr++;
    return key;
  };
  const lookUp = (epoch, n) => {
    const key = stored.get(`${epoch}/${n}`);
    if (!key) refuse('replay');
    out.used = { epoch, n };
    return key;
  };
  let key;
  if (where === 'current') {
    if (!equal(h.ratchet, s.remote)) refuse('peer', 'the ratchet key changes inside a chain');
    if (h.number < s.Nr) {
      key = lookUp(s.epoch, h.number);
      s.missing = Math.max(s.missing - 1, 0);
    } else {
      if (h.number - s.Nr > 1000) refuse('skip');
      key = step(h.number);
    }
  } else if (where === 'next') {
    if ((s.epoch === 0 && h.previous !== 0) || h.previous < s.Nr) refuse('peer', 'the previous chain shrinks');
    if (h.previous - s.Nr + h.number > 1000) refuse('skip');
    if (s.epoch > 0) {
      skipTo(h.previous);
      s.old.push({ epoch: s.epoch, header: s.HKr, missing: s.missing, closed: now });
    }
    let secret = null;
    const dh = exchange(s.private, h.ratchet);
    if (h.answer) {
      const i = s.offers.findIndex((o) => o.id === h.answer.id);
      if (i < 0) refuse('peer', 'an answer to an offer that is not out');
      const keys = kem.keys(s.offers[i].seed);
      secret = { shared: kem.decapsulate(keys, h.answer.ct), ek: keys.ek, ct: h.answer.ct };
      s.offers = s.offers.slice(i + 1);
      s.unanswered = 0;
    } else if (s.offers.length && s.unanswered < 2) s.unanswered++;
    s.HKr = s.NHKr;
    [s.RK, s.CKr, s.NHKr] = rootStep(s.RK, dh, secret);
    Object.assign(s, { remote: h.ratchet, Nr: 0, missing: 0, epoch: s.epoch + 1, turn: true });
    key = step(h.number);
  } else {
    const chain = s.old.find((o) => o.epoch === where.epoch);
    key = lookUp(chain.epoch, h.number);
    chain.missing = Math.max(chain.missing - 1, 0);
  }
  let plain;
  try {
    plain = openBody(key, e.salt, associated(m, e.kind, e.prefix), e.body);
  } catch (err) {
    if (err instanceof Refused) refuse('open', err.message);
    throw err;
  }
  const r = new Reader(unpad(plain), 'peer');
  out.manifest = { version: r.u64(), hash: r.take(32) };
  if (out.manifest.version === 0) refuse('peer', 'manifest version');
  out.content = r.rest();
  if (h.offer && h.offer.id > s.seen) {
    if (!kem.valid(h.offer.ek)) refuse('peer', 'offer');
    s.seen = h.offer.id;
    s.peerOffer = h.offer;
  }
  if (s.role === 1 || s.epoch > 1) Object.assign(s, { confirmed: true, prelude: null });
  while (s.old.length > 5) {
    const expired = (o) => now - o.closed >= 30 * DAY || (now - o.closed >= DAY && s.epoch - o.epoch >= 5);
    const i = s.old.findIndex((o) => o.missing === 0 || expired(o));
    s.old.splice(Math.max(i, 0), 1);
  }
  return out;
}

// store returns the stored form.
export function store(s) {
  const flag = (b) => u8(b ? 1 : 0);
  return cat(u8(1), u8(s.role), flag(s.turn), flag(s.sending), flag(s.confirmed), party(s.self), party(s.peer), s.id, s.handshake, u32(s.generation),
    s.RK, s.CKs, s.HKs, s.NHKs, s.CKr, s.HKr, s.NHKr, s.private, s.public, s.remote,
    ...[s.Ns, s.PN, s.Nr, s.missing, s.epoch, s.sent, s.next, s.seen].map(u32),
    u8(s.old.length), ...s.old.map((o) => cat(u32(o.epoch), o.header, u32(o.missing), u64(o.closed))),
    lp16(s.prelude ?? Buffer.alloc(0)), u64(s.offerTime), u8(s.unanswered), u8(s.offers.length), ...s.offers.map((o) => cat(u32(o.id), o.seed)),
    flag(s.peerOffer), ...(s.peerOffer ? [u32(s.peerOffer.id), s.peerOffer.ek] : []), flag(s.answer), ...(s.answer ? [u32(s.answer.id), s.answer.ct] : []));
}
