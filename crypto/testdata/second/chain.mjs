// SPEC "Certificates": the verification of an account's chain. The parser reads
// as much of DER (X.690) and RFC 5280 as the profile needs.
import { cat, checkSigning, equal, hex, refuse, text, verify } from './primitives.mjs';
import { parseAddress } from './identity.mjs';

// node reads one DER value: its tag, contents, complete encoding, and the bytes after it.
function node(b) {
  if (b.length < 2) refuse('chain', 'DER');
  let n = b[1];
  let head = 2;
  if (n >= 0x80) {
    const size = n & 0x7f;
    if (size < 1 || size > 3 || b.length < 2 + size) refuse('chain', 'DER');
    n = b.readUIntBE(2, size);
    head = 2 + size;
    if (n < 0x80 || (size > 1 && b[2] === 0)) refuse('chain', 'DER');
  }
  if (b.length < head + n) refuse('chain', 'DER');
  return { tag: b[0], body: b.subarray(head, head + n), whole: b.subarray(0, head + n), rest: b.subarray(head + n) };
}

function children(b) {
  const out = [];
  while (b.length) {
    const x = node(b);
    out.push(x);
    b = x.rest;
  }
  return out;
}

function when(x) {
  const s = x.body.toString('latin1');
  const full = x.tag === 0x17 ? (Number(s.slice(0, 2)) < 50 ? '20' : '19') + s : s;
  const m = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(full);
  if (!m) refuse('chain', 'time');
  return Date.UTC(m[1], m[2] - 1, m[3], m[4], m[5], m[6]) / 1000;
}

const ED25519 = hex('300506032b6570');
const OID = { basic: '551d13', usage: '551d0f', extended: '551d25', alt: '551d11', constraints: '551d1e', subjectKey: '551d0e', authorityKey: '551d23' };

export function parse(der) {
  if (der.length > 2048) refuse('chain', 'more than 2,048 bytes');
  const cert = node(der);
  if (cert.rest.length || cert.tag !== 0x30) refuse('chain', 'not one certificate');
  const [tbs, algorithm, bits] = children(cert.body);
  if (!bits || !equal(algorithm.whole, ED25519) || bits.tag !== 3) refuse('chain', 'not Ed25519');
  const fields = children(tbs.body);
  const version = fields.shift();
  if (version.tag !== 0xa0 || !equal(version.body, hex('020102'))) refuse('chain', 'not version 3');
  const [, inner, issuer, validity, subject, spki, ...more] = fields;
  const [keyAlgorithm, keyBits] = children(spki.body);
  if (!equal(inner.whole, ED25519) || !equal(keyAlgorithm.whole, ED25519)) refuse('chain', 'not Ed25519');
  const [notBefore, notAfter] = children(validity.body).map(when);
  const c = { tbs: tbs.whole, signature: bits.body.subarray(1), issuer: issuer.whole, subject: subject.whole, notBefore, notAfter, ext: {} };
  try {
    c.key = checkSigning(keyBits.body.subarray(1));
  } catch {
    refuse('chain', 'key');
  }
  const list = more.find((x) => x.tag === 0xa3);
  for (const e of list ? children(node(list.body).body) : []) {
    const parts = children(e.body);
    const id = parts[0].body.toString('hex');
    const critical = parts.length === 3;
    if (id in c.ext) refuse('chain', 'an extension twice');
    if (critical && !Object.values(OID).includes(id)) refuse('chain', 'an unknown critical extension');
    c.ext[id] = { critical, value: parts.at(-1).body };
  }
  return c;
}

const value = (c, name) => c.ext[OID[name]]?.value;

function profile(c, { ca, pathLength, usage }) {
  const basic = children(node(value(c, 'basic') ?? refuse('chain', 'basic constraints')).body);
  const isCA = basic[0]?.tag === 1 && basic[0].body[0] === 0xff;
  if (isCA !== ca) refuse('chain', 'CA or not');
  if (ca && !(basic[1]?.tag === 2 && basic[1].body.length === 1 && basic[1].body[0] === pathLength)) refuse('chain', 'path length');
  if (!ca && basic.length) refuse('chain', 'basic constraints of a leaf');
  const bits = node(value(c, 'usage') ?? refuse('chain', 'key usage')).body;
  if (bits.length !== 2 || bits[1] !== usage) refuse('chain', 'key usage');
  if (ca && (value(c, 'extended') || value(c, 'alt'))) refuse('chain', 'a name or a purpose of a CA');
}

function signedBy(c, parent, life) {
  if (!equal(c.issuer, parent.subject)) refuse('chain', "the issuer's name");
  const id = value(parent, 'subjectKey') && node(value(parent, 'subjectKey')).body;
  const authority = value(c, 'authorityKey') && children(node(value(c, 'authorityKey')).body).find((x) => x.tag === 0x80)?.body;
  if (!id?.length || !authority || !equal(id, authority)) refuse('chain', "the issuer's key id");
  if (!verify(parent.key, c.tbs, c.signature)) refuse('chain', "the issuer's signature");
  if (c.notBefore < parent.notBefore || c.notAfter > parent.notAfter) refuse('chain', 'outlives its issuer');
  if (c.notAfter - c.notBefore > life) refuse('chain', 'lives too long');
}

const sequence = (...parts) => tagged(0x30, cat(...parts));
const tagged = (tag, b) => cat([tag], b.length < 128 ? [b.length] : b.length < 256 ? [0x81, b.length] : [0x82, b.length >> 8, b.length & 255], b);
const DAY = 86400;

// verifyAccount returns the identity key that a chain certifies for an address.
export function verifyAccount(rootDER, chain, account, at) {
  const { user, domain } = parseAddress(account);
  if (chain.length !== 2) refuse('chain', 'not two certificates');
  const root = parse(rootDER);
  profile(root, { ca: true, pathLength: 1, usage: 0x06 });
  if (value(root, 'constraints')) refuse('chain', 'name constraints of a root');
  const [leaf, issuing] = chain.map(parse);
  profile(issuing, { ca: true, pathLength: 0, usage: 0x86 });
  signedBy(issuing, root, 365 * DAY);
  const wanted = sequence(tagged(0xa0, sequence(tagged(0x86, text(domain)))));
  const constraints = issuing.ext[OID.constraints];
  if (!constraints?.critical || !equal(constraints.value, wanted)) refuse('name', 'another domain');
  profile(leaf, { ca: false, usage: 0x80 });
  if (!value(leaf, 'extended') || !equal(value(leaf, 'extended'), sequence(hex('06082b06010505070302')))) refuse('chain', 'not for clients');
  if (value(leaf, 'constraints')) refuse('chain', 'name constraints of a leaf');
  signedBy(leaf, issuing, 90 * DAY);
  const names = children(node(value(leaf, 'alt') ?? refuse('chain', 'no name')).body);
  if (names.length !== 1 || names[0].tag !== 0x86) refuse('chain', 'not one URI');
  if (!equal(names[0].body, text(`secmsg://${domain}/${user}`))) refuse('name', 'another account');
  for (const c of [root, issuing, leaf]) {
    if (at < c.notBefore) refuse('not yet valid');
    if (at > c.notAfter) refuse('expired');
  }
  return leaf.key;
}
