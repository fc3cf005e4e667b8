// Checks every vector of crypto/testdata with the second implementation, which
// was written from SPEC.md and uses nothing but Node (18 or later).
//
//   node check.mjs [DIRECTORY]
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { verifyAccount } from './chain.mjs';
import * as id from './identity.mjs';
import * as kem from './mlkem.mjs';
import { Refused, checkExchange, checkSigning, equal, exchangePublic, hex, sha256, signingPublic, verify } from './primitives.mjs';
import * as ratchet from './ratchet.mjs';
import * as seal from './seal.mjs';

const dir = process.argv[2] ?? path.join(path.dirname(fileURLToPath(import.meta.url)), '..');
let checks = 0;
let failures = 0;

function fail(what) {
  failures++;
  console.error(`FAILED: ${what}`);
}
function same(what, got, want) {
  checks++;
  const [a, b] = [got, want].map((v) => (v instanceof Uint8Array ? Buffer.from(v).toString('hex') : String(v)));
  if (a !== b) fail(`${what}: ${a.slice(0, 160)}, want ${b.slice(0, 160)}`);
}
// refused checks that fn refuses, with a code if one is named.
function refused(what, code, fn) {
  checks++;
  try {
    fn();
  } catch (err) {
    if (!(err instanceof Refused)) throw err;
    if (code && err.code !== code) fail(`${what}: refused as ${err.message}, want ${code}`);
    return;
  }
  fail(`${what}: not refused`);
}
const read = (name, reviver) => JSON.parse(fs.readFileSync(path.join(dir, name)), reviver);
// load reads a file of vectors. No list may be empty, since then nothing would be
// checked. (A device may know no other session.)
const load = (name) =>
  read(name, (key, value) => {
    if (Array.isArray(value) && value.length === 0 && key !== 'known') fail(`${name}: the list ${key} is empty`);
    return value;
  });

// Wycheproof shows that the ML-KEM here is the standard's.
function mlkem() {
  same('ML-KEM self-test', kem.selfTest(), true);
  for (const group of read('wycheproof/mlkem_768_test.json').testGroups)
    for (const t of group.tests.filter((x) => x.result === 'valid'))
      same(`ML-KEM ${t.tcId}`, kem.decapsulate(kem.keys(hex(t.seed)), hex(t.c)), hex(t.K));
  for (const group of read('wycheproof/mlkem_768_encaps_test.json').testGroups)
    for (const t of group.tests) {
      if (t.result !== 'valid') {
        same(`ML-KEM encapsulation key ${t.tcId}`, kem.valid(hex(t.ek)), false);
        continue;
      }
      const { shared, ct } = kem.encapsulate(hex(t.ek), hex(t.m));
      same(`ML-KEM encapsulation ${t.tcId}`, ct, hex(t.c));
      same(`ML-KEM encapsulation ${t.tcId}`, shared, hex(t.K));
    }
}

function identity() {
  const v = load('identity.json');
  const now = v.manifests[0].time;
  for (const x of v.fingerprints) same('fingerprint', sha256(hex(x.public)).toString('hex'), x.fingerprint);
  for (const x of v.device_ids) {
    const got = id.deviceID(signingPublic(hex(x.signing_seed)), exchangePublic(hex(x.exchange_private)));
    same('device id', got, hex(x.id));
    same('device id as text', id.deviceText(got), x.text);
    same('device id from text', id.parseDeviceText(x.text), hex(x.id));
  }
  const keysOf = (d) => ({ ...d, signing: signingPublic(hex(d.signing_seed)), exchange: exchangePublic(hex(d.exchange_private)) });
  for (const x of v.manifests) {
    same('manifest', id.makeManifest(hex(x.identity_seed), { ...x, previous: hex(x.previous), devices: x.devices.map(keysOf) }), hex(x.signed));
    same('manifest hash', sha256(hex(x.signed)), hex(x.hash));
    same('manifest read', id.readManifest(hex(x.signed), x.address, signingPublic(hex(x.identity_seed))).version, x.version);
  }
  const account = v.manifests[0].address;
  const owner = signingPublic(hex(v.manifests[0].identity_seed));
  for (const x of v.successions) same(`succession, ${x.name}`, id.succession(hex(x.known), hex(x.next), account, owner), x.result);
  const deviceOf = (x) => {
    const signing = signingPublic(hex(x.signing_seed));
    return { signing, id: id.deviceID(signing, exchangePublic(hex(x.exchange_private))) };
  };
  for (const x of v.prekeys) {
    const d = deviceOf(x);
    const key = id.prekeyPublic(x.kind, hex(x.private));
    same('prekey', id.makePrekey(hex(x.signing_seed), d.id, x.address, { ...x, key }), hex(x.encoded));
    same('prekey read', id.readPrekey(hex(x.encoded), d.signing, d.id, x.address, now).id, x.id);
  }
  for (const x of v.registrations) {
    const d = deviceOf(x);
    same('registration', id.registration(hex(x.signing_seed), x.address, signingPublic(hex(x.identity_seed)), d.signing, exchangePublic(hex(x.exchange_private))), hex(x.proof));
  }
  for (const x of v.challenges) same('challenge', id.challenge(hex(x.signing_seed), x.address, deviceOf(x).id, x.role, hex(x.nonce)), hex(x.answer));
  for (const x of v.statements) {
    same('statement', id.makeStatement(hex(x.issuing_seed), { ...x, epoch: hex(x.epoch), tlsKeys: x.tls_keys.map(hex), logKey: signingPublic(hex(x.log_seed)) }), hex(x.signed));
    same('statement read', id.readStatement(hex(x.signed), signingPublic(hex(x.issuing_seed))).domain, x.domain);
  }
  for (const x of v.invites) {
    same('invite', id.makeInvite(x.address, hex(x.token), hex(x.fingerprint)), x.uri);
    same('invite read', id.parseInvite(x.uri).token, hex(x.token));
    same('invite hash', id.inviteHash(hex(x.token)), hex(x.token_hash));
  }
  for (const x of v.safety_numbers) {
    const n = id.safetyNumber(x.a, signingPublic(hex(x.a_seed)), x.b, signingPublic(hex(x.b_seed)));
    same('safety number', n.digits, x.digits);
  }
  const d = deviceOf(v.prekeys[0]);
  const issuing = signingPublic(hex(v.statements[0].issuing_seed));
  const forms = {
    manifest: (b) => id.readManifest(hex(b), account, owner),
    prekey: (b) => id.readPrekey(hex(b), d.signing, d.id, account, now),
    statement: (b) => id.readStatement(hex(b), issuing),
    address: id.parseAddress,
    invite: id.parseInvite,
    'device id': id.parseDeviceText,
    'signing key': (b) => checkSigning(hex(b)),
    'exchange key': (b) => checkExchange(hex(b)),
    'signature of the empty message by identity seed 01..': (b) => verify(owner, Buffer.alloc(0), hex(b)) || refuseSignature(),
  };
  const refuseSignature = () => {
    throw new Refused('different');
  };
  for (const x of v.refused) {
    if (!forms[x.form]) fail(`refused: nothing checks the form ${x.form}`);
    else refused(`${x.form}, ${x.name}`, null, () => forms[x.form](x.value));
  }
}

function chains() {
  for (const x of load('chains.json')) {
    const run = () => verifyAccount(hex(x.root), x.chain.map(hex), x.address, x.time);
    if (x.result === 'ok') same(`chain, ${x.name}`, run(), hex(x.key));
    else refused(`chain, ${x.name}`, x.result, run);
  }
}

function envelope() {
  const v = load('envelope.json');
  for (const x of v.sealed) {
    const args = [hex(x.key), hex(x.salt), hex(x.ad)];
    same('body', seal.sealBody(...args, hex(x.plaintext)), hex(x.body));
    same('header', seal.sealHeader(...args, hex(x.plaintext)), hex(x.header));
    same('body opened', seal.openBody(...args, hex(x.body)), hex(x.plaintext));
    same('header opened', seal.openHeader(...args, hex(x.header)), hex(x.plaintext));
  }
  for (const x of v.refused) refused(`body, ${x.name}`, x.error, () => seal.openBody(hex(x.key), hex(x.salt), hex(x.ad), hex(x.body)));
  for (const x of v.padded) {
    same(`padding of ${x.length}`, seal.padded(x.length), x.padded);
    same(`padding of ${x.length}`, seal.unpad(seal.pad(Buffer.alloc(x.length, 0x80))).length, x.length);
  }
  for (const x of v.padding_refused) refused(`padding, ${x.name}`, null, () => seal.unpad(hex(x.padded)));
}

function files() {
  const v = load('file.json');
  const key = hex(v.file_key);
  same('file header', seal.fileHeader(key), hex(v.header));
  for (const x of v.files) {
    const plain = seal.pattern(x.length);
    const blob = seal.sealFile(key, plain);
    same(`file of ${x.length}`, blob.length, x.sealed_length);
    same(`file of ${x.length}`, sha256(blob), hex(x.sealed_sha256));
    if (x.sealed) same(`file of ${x.length}`, blob, hex(x.sealed));
    same(`file of ${x.length} opened`, equal(seal.openFile(key, blob), plain), true);
  }
  for (const x of v.chunks) same(`chunk ${x.index}`, sha256(seal.sealChunk(key, x.index, x.last, seal.pattern(x.length))), hex(x.sealed_sha256));
  for (const x of v.refused) refused(`file, ${x.name}`, x.error, () => seal.openFile(key, hex(x.sealed)));
}

function media() {
  const v = load('media.json');
  const secrets = { call: hex(v.call_id), caller: hex(v.caller_device), callee: hex(v.callee_device), offer: hex(v.offer_secret), answer: hex(v.answer_secret) };
  for (const s of v.streams) {
    const keys = seal.mediaKeys(secrets, s.direction, s.ssrc);
    same('media key', keys.key, hex(s.key));
    same('media salt', keys.salt, hex(s.salt));
    const opener = new seal.MediaOpener(keys, s.direction);
    for (const p of s.packets) {
      if (p.refused) {
        refused(`packet, ${p.refused}`, null, () => opener.open(hex(p.rtp), hex(p.sealed)));
        continue;
      }
      same(`packet ${p.counter}`, seal.sealMedia(keys, s.direction, BigInt(p.counter), hex(p.rtp), hex(p.payload)), hex(p.sealed));
      same(`packet ${p.counter} opened`, opener.open(hex(p.rtp), hex(p.sealed)), hex(p.payload));
    }
  }
}

function sessions() {
  const v = load('sessions.json');
  for (const x of v.own) same(`own generation after ${x.known}`, ratchet.ownGeneration(x.known, x.now), x.generation);
  for (const x of v.accepted) same(`generation ${x.generation}`, ratchet.acceptsGeneration(x.generation, x.now), x.ok);
  for (const x of v.preferred) {
    const [a, b] = [0, 1].map((i) => ({ generation: x.generations[i], id: hex(x.ids[i]) }));
    same(`preferred of ${x.generations}`, ratchet.prefers(a, b, x.now) ? 0 : 1, x.preferred);
    same(`preferred of ${x.generations}, the other way`, ratchet.prefers(b, a, x.now) ? 1 : 0, x.preferred);
  }
}

function session(name) {
  const v = load(path.join('ratchet', name));
  const what = (s) => `${name}: ${s}`;
  const [a, b] = [v.initiator, v.responder].map((d) => {
    const end = {
      address: d.address, device: hex(d.device), account: signingPublic(hex(d.account_seed)), signing: signingPublic(hex(d.signing_seed)),
      private: hex(d.exchange_private), exchange: exchangePublic(hex(d.exchange_private)), manifest: hex(d.manifest),
    };
    same(what('device id'), id.deviceID(end.signing, end.exchange), end.device);
    return end;
  });
  const r = v.responder;
  const prekeys = {
    signedID: r.signed_prekey_id, signed: hex(r.signed_prekey_private), kemKind: r.kem_prekey_kind, kemID: r.kem_prekey_id, kemSeed: hex(r.kem_prekey_seed),
    oneTimeID: r.one_time_prekey_id, oneTime: r.one_time_prekey_private && hex(r.one_time_prekey_private),
  };
  const meta = (m) => ({ class: m.class, id: hex(m.message_id), sender: m.from ? b : a, recipient: m.from ? a : b });
  const { chain } = ratchet.readPrelude(hex(v.prelude));
  same(what('chain'), verifyAccount(hex(v.realm_root), chain, a.address, v.begun), a.account);
  const responder = { version: id.readManifest(b.manifest, b.address, b.account).version, hash: sha256(b.manifest) };
  const begun = ratchet.initiate(a, b, prekeys, v.generation, chain, a.manifest, responder, hex(v.ephemeral_private), hex(v.encapsulation), v.begun);
  same(what('prelude'), begun.state.prelude, hex(v.prelude));
  same(what('transcript hash'), begun.transcript, hex(v.transcript_hash));
  same(what('handshake hash'), begun.state.handshake, hex(v.handshake_hash));
  const first = v.messages[0];
  const ends = [begun.state, ratchet.accept(a, b, prekeys, meta(first), hex(first.envelope), v.begun)];
  for (const [i, s] of ends.entries()) {
    same(what(`root key of end ${i}`), s.RK, hex(v.root_key));
    same(what(`first header key of end ${i}`), i ? s.NHKr : s.NHKs, hex(v.first_header_key));
    same(what(`next header key of end ${i}`), i ? s.NHKs : s.NHKr, hex(v.next_header_key));
  }
  const stored = [new Map(), new Map()];
  v.events.forEach((e, n) => {
    const m = v.messages[e.message];
    const at = (s) => what(`event ${n}, ${e.op} ${e.note ?? ''}: ${s}`);
    if (e.op === 'seal') {
      const draws = Object.fromEntries(['salt', 'ratchet_private', 'encapsulation', 'offer_seed'].map((k) => [k, e[k] && hex(e[k])]));
      const out = ratchet.seal(ends[m.from], meta(m), { version: m.manifest_version, hash: hex(m.manifest_hash) }, hex(m.content), e.time, draws);
      same(at('envelope'), out.envelope, hex(m.envelope));
      ends[m.from] = out.state;
      if (e.session) same(at('stored form'), ratchet.store(out.state), hex(e.session));
      return;
    }
    const to = 1 - m.from;
    if (e.op === 'refuse') {
      const before = ratchet.store(ends[to]);
      refused(at(''), e.error, () => {
        const s = e.fresh ? ratchet.accept(a, b, prekeys, meta(m), hex(m.envelope), e.time) : ends[to];
        ratchet.open(s, meta(m), hex(m.envelope), stored[to], e.time);
      });
      same(at('state unchanged'), ratchet.store(ends[to]), before);
      return;
    }
    const out = ratchet.open(ends[to], meta(m), hex(m.envelope), stored[to], e.time);
    ends[to] = out.state;
    same(at('content'), out.content, hex(m.content));
    same(at('manifest version'), out.manifest.version, m.manifest_version);
    same(at('manifest hash'), out.manifest.hash, hex(m.manifest_hash));
    same(at('stored form'), ratchet.store(out.state), hex(e.session));
    same(at('skipped'), JSON.stringify(out.skipped.map((k) => ({ epoch: k.epoch, n: k.n, key: k.key.toString('hex') }))), JSON.stringify(e.skipped ?? []));
    same(at('used'), JSON.stringify(out.used), JSON.stringify(e.used ?? null));
    for (const k of out.skipped) stored[to].set(`${k.epoch}/${k.n}`, k.key);
    if (out.used) stored[to].delete(`${out.used.epoch}/${out.used.n}`);
  });
}

// Every file must be known here, so that no new one is left unchecked.
const known = { 'identity.json': identity, 'chains.json': chains, 'envelope.json': envelope, 'file.json': files, 'media.json': media, 'sessions.json': sessions };
const run = (name, fn) => {
  const [c, f] = [checks, failures];
  try {
    fn();
  } catch (err) {
    fail(`${name}: ${err.stack}`);
  }
  console.log(`${failures === f ? 'ok    ' : 'FAILED'} ${name}: ${checks - c} checks`);
};
run('ML-KEM-768', mlkem);
for (const name of fs.readdirSync(dir).filter((x) => x.endsWith('.json')).sort()) run(name, known[name] ?? (() => fail(`${name}: no check for this file`)));
for (const name of Object.keys(known)) if (!fs.existsSync(path.join(dir, name))) fail(`${name} is missing`);
const ratchets = fs.readdirSync(path.join(dir, 'ratchet')).filter((x) => x.endsWith('.json')).sort();
if (ratchets.length < 10) fail(`${ratchets.length} files in ratchet`);
for (const name of ratchets) run(`ratchet/${name}`, () => session(name));
console.log(`${checks} checks, ${failures} failures`);
process.exit(failures ? 1 : 0);
