// open.mjs opens CMS objects with node:crypto and a DER reader of its own, as one
// more judge of ours. Node 26 brings OpenSSL 3.5, which has ML-KEM.
//
//	node open.mjs < orders
//
// An order is a line "open OBJECT CERTIFICATE KEY OUT" of files in DER, the key as
// PKCS #8. What fails leaves its reason in OUT.err, and no OUT.
//
// It reads what we write and nothing else: no BER, issuer and serial number, the
// schemes of RFC 3370, 3560, 5753, 8418, 9629 and 9936.
import { readFileSync, writeFileSync } from 'node:fs';
import {
	createDecipheriv, createECDH, createHash, createPrivateKey, createPublicKey,
	constants, decapsulate, diffieHellman, hkdfSync, privateDecrypt,
} from 'node:crypto';

function refuse(why) { throw new Error(why); }

// read reads one element of DER at an offset: its tag, contents, the whole of it,
// and where the next one starts.
function read(buf, at = 0) {
	let length = buf[at + 1], start = at + 2;
	if (length === undefined) refuse('DER: cut short');
	if (length > 0x7f) {
		const n = length & 0x7f;
		if (n < 1 || n > 4) refuse('DER: indefinite or huge length');
		length = buf.readUIntBE(start, n);
		start += n;
		if (length < 0x80 || length < 2 ** (8 * (n - 1))) refuse('DER: length in too many octets');
	}
	const next = start + length;
	if (next > buf.length) refuse('DER: cut short');
	return { tag: buf[at], body: buf.subarray(start, next), raw: buf.subarray(at, next), next };
}

// list reads elements up to the end of the buffer.
function list(buf) {
	const all = [];
	for (let at = 0; at < buf.length; at = all.at(-1).next) all.push(read(buf, at));
	return all;
}

// only reads an element behind which there is nothing, and checks its tag.
function only(buf, tag) {
	const e = read(buf);
	if (e.tag !== tag || e.next !== buf.length) refuse(`DER: not one element of tag ${tag}`);
	return e.body;
}

// algorithm reads an AlgorithmIdentifier; the parameters are null when absent.
function algorithm(e) {
	const [id, parameters = null, ...more] = list(only(e.raw, 0x30));
	if (id.tag !== 6 || more.length) refuse('not an AlgorithmIdentifier');
	return { oid: id.body.toString('hex'), parameters, raw: e.raw };
}

const absent = (a) => a.parameters === null || refuse(`${a.oid} has parameters`);
const same = (a, b) => Buffer.compare(a, b) === 0;
const element = (tag, ...contents) => {
	const body = Buffer.concat(contents);
	if (body.length > 0x7f) refuse('more than we need to write');
	return Buffer.concat([Buffer.from([tag, body.length]), body]);
};

const aes = '60864801650304'; // 2.16.840.1.101.3.4
const ciphers = {
	[aes + '0102']: ['aes-128-cbc', 16], [aes + '012a']: ['aes-256-cbc', 32],
	[aes + '0106']: ['aes-128-gcm', 16], [aes + '012e']: ['aes-256-gcm', 32],
};
const wraps = { [aes + '0105']: ['id-aes128-wrap', 16], [aes + '012d']: ['id-aes256-wrap', 32] };
const kems = { [aes + '0402']: 'ml-kem-768', [aes + '0403']: 'ml-kem-1024' };
const hkdfSHA256 = '2a864886f70d010910031c'; // 1.2.840.113549.1.9.16.3.28
const x25519 = '2b656e', x25519HKDF = '2a864886f70d0109100313';
const x963 = { '2b8104010b01': 'sha256', '2b8104010b02': 'sha384', '2b8104010b03': 'sha512' };
const curves = { 'P-256': 'prime256v1', 'P-384': 'secp384r1', 'P-521': 'secp521r1' };
const digests = { '2b0e03021a': 'sha1', [aes + '0201']: 'sha256' };

// nameOf is the certificate's IssuerAndSerialNumber.
function nameOf(cert) {
	const fields = list(list(only(cert, 0x30))[0].body);
	const [serial, , issuer] = fields[0].tag === 0xa0 ? fields.slice(1) : fields;
	return Buffer.concat([issuer.raw, serial.raw]);
}

function unwrap(wrap, kek, wrapped) {
	absent(wrap);
	const d = createDecipheriv(wraps[wrap.oid][0], kek, Buffer.alloc(8, 0xa6));
	return Buffer.concat([d.update(wrapped), d.final()]);
}

function openRSA(key, [version, name, how, encrypted]) {
	if (version.body[0] !== 0) refuse('ktri: version');
	const a = algorithm(how);
	if (a.oid === '2a864886f70d010101') {
		if (a.parameters?.tag !== 5) refuse('rsaEncryption without NULL');
		return privateDecrypt({ key, padding: constants.RSA_PKCS1_PADDING }, encrypted.body);
	}
	if (a.oid !== '2a864886f70d010107') refuse(`ktri: ${a.oid}`);
	// RFC 4055, Section 4.1: what has its default is left out.
	const fields = list(only(a.parameters.raw, 0x30));
	let oaepHash = 'sha1';
	if (fields.length) {
		const [hash, mgf, ...more] = fields;
		const used = algorithm({ raw: hash.body }), mask = algorithm({ raw: mgf.body });
		if (hash.tag !== 0xa0 || mgf.tag !== 0xa1 || more.length) refuse('OAEP: parameters');
		if (mask.oid !== '2a864886f70d010108' || algorithm(mask.parameters).oid !== used.oid) refuse('OAEP: MGF1');
		oaepHash = digests[used.oid];
		if (oaepHash === 'sha1') refuse('OAEP: the default is written');
	}
	return privateDecrypt({ key, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash }, encrypted.body);
}

function openAgreed(key, fields) {
	const [version, originator, ...rest] = fields;
	if (version.body[0] !== 3) refuse('kari: version');
	const ukm = rest[0].tag === 0xa1 ? only(rest.shift().body, 4) : null;
	const [how, keys] = rest, scheme = algorithm(how), wrap = algorithm(scheme.parameters);
	const [kind, bits] = list(only(originator.body, 0xa1)), point = bits.body.subarray(1);
	absent(algorithm(kind));
	const size = wraps[wrap.oid][1], length = Buffer.alloc(4);
	length.writeUInt32BE(8 * size);
	const info = element(0x30, wrap.raw, ukm ? element(0xa0, element(4, ukm)) : Buffer.alloc(0),
		element(0xa2, element(4, length)));
	let kek;
	if (scheme.oid === x25519HKDF) {
		if (algorithm(kind).oid !== x25519) refuse('kari: originator');
		const jwk = { kty: 'OKP', crv: 'X25519', x: point.toString('base64url') };
		const secret = diffieHellman({ privateKey: key, publicKey: createPublicKey({ key: jwk, format: 'jwk' }) });
		kek = Buffer.from(hkdfSync('sha256', secret, ukm ?? '', info, size));
	} else {
		const jwk = key.export({ format: 'jwk' }), own = createECDH(curves[jwk.crv]);
		own.setPrivateKey(jwk.d, 'base64url');
		const h = createHash(x963[scheme.oid] ?? refuse(`kari: ${scheme.oid}`));
		kek = h.update(own.computeSecret(point)).update(Buffer.from([0, 0, 0, 1])).update(info).digest().subarray(0, size);
	}
	const [one, ...more] = list(keys.body);
	if (more.length) refuse('kari: several keys');
	return unwrap(wrap, kek, list(one.body)[1].body);
}

// openKEM: RFC 9629, Section 3, with the algorithms of RFC 9936.
function openKEM(key, [version, name, how, ciphertext, derivation, size, ...rest]) {
	if (version.body[0] !== 0) refuse('KEMRecipientInfo: version');
	const kem = algorithm(how), kdf = algorithm(derivation), n = size.body.readUIntBE(0, size.body.length);
	const ukm = rest[0].tag === 0xa0 ? rest.shift() : null;
	const [wrapping, encrypted] = rest, wrap = algorithm(wrapping);
	absent(kem), absent(kdf), absent(wrap);
	if (kems[kem.oid] !== key.asymmetricKeyType) refuse(`KEMRecipientInfo: ${kem.oid}`);
	if (kdf.oid !== hkdfSHA256 || n !== wraps[wrap.oid][1]) refuse('KEMRecipientInfo: kdf or kekLength');
	const info = element(0x30, wrap.raw, size.raw, ukm ? ukm.raw : Buffer.alloc(0));
	const kek = Buffer.from(hkdfSync('sha256', decapsulate(key, ciphertext.body), '', info, n));
	return unwrap(wrap, kek, encrypted.body);
}

// contentKey finds the RecipientInfo of the certificate and opens it.
function contentKey(infos, name, key) {
	const all = list(infos.body);
	if (all.some((e, i) => i > 0 && Buffer.compare(all[i - 1].raw, e.raw) > 0)) refuse('RecipientInfos out of order');
	for (const info of all) {
		let fields = list(info.body);
		if (info.tag === 0x30) {
			if (same(fields[1].body, name)) return openRSA(key, fields);
		} else if (info.tag === 0xa1) {
			if (same(list(list(fields.at(-1).body)[0].body)[0].body, name)) return openAgreed(key, fields);
		} else if (info.tag === 0xa4) {
			if (fields[0].body.toString('hex') !== '2a864886f70d0109100d03') refuse('ori: not a KEM');
			fields = list(only(fields[1].raw, 0x30));
			if (same(fields[1].body, name)) return openKEM(key, fields);
		}
	}
	refuse('no recipient');
}

function open(object, cert, key) {
	const [type, content] = list(only(object, 0x30));
	const kind = type.body.toString('hex'), gcm = kind === '2a864886f70d0109100117';
	if (!gcm && kind !== '2a864886f70d010703') refuse(`content type ${kind}`);
	const [version, infos, info, mac, ...more] = list(only(only(content.raw, 0xa0), 0x30));
	const tags = list(infos.body).map((e) => e.tag);
	const due = gcm ? 0 : tags.includes(0xa4) ? 3 : tags.includes(0xa1) ? 2 : 0; // RFC 5652, Section 6.1
	if (version.body[0] !== due || (gcm ? more.length : mac)) refuse('version, or fields too many');
	const [data, how, text, ...none] = list(info.body), a = algorithm(how);
	if (data.body.toString('hex') !== '2a864886f70d010701' || text.tag !== 0x80 || none.length) refuse('EncryptedContentInfo');
	const [cipher, size] = ciphers[a.oid] ?? refuse(`cipher ${a.oid}`);
	if (cipher.endsWith('gcm') !== gcm) refuse(`${cipher} in this content type`);
	const cek = contentKey(infos, nameOf(cert), key);
	if (cek.length !== size) refuse(`content key of ${cek.length} octets`);
	if (!gcm) {
		const d = createDecipheriv(cipher, cek, only(a.parameters.raw, 4));
		return Buffer.concat([d.update(text.body), d.final()]);
	}
	const [nonce, length] = list(only(a.parameters.raw, 0x30));
	if (length.body[0] !== 16 || mac.body.length !== 16 || nonce.body.length !== 12) refuse('GCM parameters');
	const d = createDecipheriv(cipher, cek, nonce.body, { authTagLength: 16 });
	d.setAuthTag(mac.body);
	return Buffer.concat([d.update(text.body), d.final()]);
}

for (const line of readFileSync(0, 'latin1').split('\n').filter(Boolean)) {
	const [, object, cert, key, out] = line.split(' ');
	try {
		const own = createPrivateKey({ key: readFileSync(key), format: 'der', type: 'pkcs8' });
		writeFileSync(out, open(readFileSync(object), readFileSync(cert), own));
	} catch (e) {
		writeFileSync(out + '.err', String(e));
	}
}
