// The primitives of SPEC "Primitives", from Node's own crypto module, and byte
// helpers. Nothing outside of Node is needed.
import crypto from 'node:crypto';

// Refused is thrown for input that the protocol refuses.
export class Refused extends Error {
  constructor(code, what = '') {
    super(what ? `${code}: ${what}` : code);
    this.code = code;
  }
}

export const refuse = (code, what) => {
  throw new Refused(code, what);
};

export const hex = (s) => Buffer.from(s ?? '', 'hex');
export const text = (s) => Buffer.from(s, 'utf8');
export const cat = (...parts) => Buffer.concat(parts.map((p) => (typeof p === 'string' ? text(p) : Buffer.from(p))));
export const equal = (a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)) === 0;

export const u8 = (n) => Buffer.from([n]);
export const u16 = (n) => cat([n >> 8, n & 255]);
export const u32 = (n) => {
  const b = Buffer.alloc(4);
  b.writeUInt32BE(n);
  return b;
};
export const u64 = (n) => {
  const b = Buffer.alloc(8);
  b.writeBigUInt64BE(BigInt(n));
  return b;
};
export const lp8 = (b) => cat(u8(b.length), b);
export const lp16 = (b) => cat(u16(b.length), b);
export const lp32 = (b) => cat(u32(b.length), b);

// Reader reads the fields of a structure and refuses a structure that is too short.
export class Reader {
  constructor(b, code = 'format') {
    this.b = Buffer.from(b);
    this.at = 0;
    this.code = code;
  }
  get left() {
    return this.b.length - this.at;
  }
  take(n) {
    if (n > this.left) refuse(this.code, `${n} bytes where ${this.left} are left`);
    this.at += n;
    return this.b.subarray(this.at - n, this.at);
  }
  rest() {
    return this.take(this.left);
  }
  u8() {
    return this.take(1)[0];
  }
  flag() {
    const v = this.u8();
    if (v > 1) refuse(this.code, 'a flag is 0 or 1');
    return v === 1;
  }
  u16() {
    return this.take(2).readUInt16BE();
  }
  u32() {
    return this.take(4).readUInt32BE();
  }
  // Numbers of 64 bits that this protocol uses fit into 53; others are refused.
  u64(limit = 2 ** 53 - 1) {
    const v = this.take(8).readBigUInt64BE();
    if (v > BigInt(limit)) refuse(this.code, `${v} is too large`);
    return Number(v);
  }
  sized8() {
    return this.take(this.u8());
  }
  sized16(limit = 65535) {
    const n = this.u16();
    if (n > limit) refuse(this.code, `${n} bytes, at most ${limit}`);
    return this.take(n);
  }
  end() {
    if (this.left) refuse(this.code, `${this.left} bytes too many`);
  }
}

export const sha256 = (b) => crypto.createHash('sha256').update(b).digest();
export const sha512 = (b) => crypto.createHash('sha512').update(b).digest();
export const hmac512 = (key, b) => crypto.createHmac('sha512', key).update(b).digest();
export const hkdf = (ikm, salt, info, n) => Buffer.from(crypto.hkdfSync('sha512', ikm, salt, info, n));

export function aeadSeal(key, nonce, ad, plaintext) {
  const c = crypto.createCipheriv('chacha20-poly1305', key, nonce, { authTagLength: 16 });
  c.setAAD(ad, { plaintextLength: plaintext.length });
  return cat(c.update(plaintext), c.final(), c.getAuthTag());
}

// aeadOpen returns null if the tag does not verify.
export function aeadOpen(key, nonce, ad, sealed) {
  if (sealed.length < 16) return null;
  const n = sealed.length - 16;
  const d = crypto.createDecipheriv('chacha20-poly1305', key, nonce, { authTagLength: 16 });
  d.setAAD(ad, { plaintextLength: n });
  d.setAuthTag(sealed.subarray(n));
  const p = d.update(sealed.subarray(0, n));
  try {
    d.final();
  } catch {
    return null;
  }
  return p;
}

// Raw keys inside the fixed DER of RFC 8410.
const der = (head, raw, type) => ({ key: cat(hex(head), raw), format: 'der', type });
const xPrivate = (raw) => crypto.createPrivateKey(der('302e020100300506032b656e04220420', raw, 'pkcs8'));
const xPublic = (raw) => crypto.createPublicKey(der('302a300506032b656e032100', raw, 'spki'));
const edPrivate = (seed) => crypto.createPrivateKey(der('302e020100300506032b657004220420', seed, 'pkcs8'));
const edPublic = (raw) => crypto.createPublicKey(der('302a300506032b6570032100', raw, 'spki'));
const rawOf = (key) => key.export({ format: 'der', type: 'spki' }).subarray(-32);

export const exchangePublic = (raw) => Buffer.from(rawOf(crypto.createPublicKey(xPrivate(raw))));
export const signingPublic = (seed) => Buffer.from(rawOf(crypto.createPublicKey(edPrivate(seed))));

// exchange is X25519; a result of zero is refused.
export function exchange(privateKey, publicKey) {
  let out;
  try {
    out = crypto.diffieHellman({ privateKey: xPrivate(privateKey), publicKey: xPublic(publicKey) });
  } catch {
    refuse('peer', 'X25519 gives zero');
  }
  if (equal(out, Buffer.alloc(32))) refuse('peer', 'X25519 gives zero');
  return out;
}

export const sign = (seed, message) => crypto.sign(null, message, edPrivate(seed));

// verify is RFC 8032 without cofactor: S < L, and R compared as bytes.
export function verify(publicKey, message, signature) {
  if (signature.length !== 64) return false;
  try {
    return crypto.verify(null, message, edPublic(publicKey), signature);
  } catch {
    return false;
  }
}

// Field arithmetic for the checks of public keys.
const P = 2n ** 255n - 19n;
const little = (b) => BigInt('0x' + Buffer.from(b).reverse().toString('hex'));
const mod = (a) => ((a % P) + P) % P;
const power = (a, e) => {
  let r = 1n;
  for (a = mod(a); e > 0n; e >>= 1n, a = mod(a * a)) if (e & 1n) r = mod(r * a);
  return r;
};
const D = mod(-121665n * power(121666n, P - 2n));

const smallSigning = [
  '0100000000000000000000000000000000000000000000000000000000000000',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  '0000000000000000000000000000000000000000000000000000000000000000',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
];

// checkSigning applies the four rules for Ed25519 public keys.
export function checkSigning(raw) {
  if (raw.length !== 32) refuse('format', 'a signing key has 32 bytes');
  const b = Buffer.from(raw);
  b[31] &= 0x7f;
  if (smallSigning.includes(b.toString('hex'))) refuse('format', 'a signing key of small order');
  const y = little(b);
  if (y >= P) refuse('format', 'a signing key has one name');
  const x2 = mod((y * y - 1n) * power(D * y * y + 1n, P - 2n));
  if (x2 !== 0n && power(x2, (P - 1n) / 2n) !== 1n) refuse('format', 'a signing key is a point');
  return Buffer.from(raw);
}

const smallExchange = [
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
  '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
];

// checkExchange refuses byte strings that are not X25519 public keys of this protocol.
export function checkExchange(raw, code = 'format') {
  if (raw.length !== 32) refuse(code, 'an exchange key has 32 bytes');
  if (little(raw) >= P) refuse(code, 'an exchange key has one encoding');
  if (smallExchange.includes(Buffer.from(raw).toString('hex'))) refuse(code, 'an exchange key of small order');
  return Buffer.from(raw);
}
