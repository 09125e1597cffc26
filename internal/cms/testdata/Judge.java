// Judge opens and makes CMS objects with Bouncy Castle, as one more judge of
// ours. Many in one process, since a Java machine is slow to start.
//
//	java -cp bcmail.jar:... Judge.java < orders
//
// An order is a line of words:
//
//	open OBJECT CERTIFICATE KEY OUT
//	make CONTENT CERTIFICATE OUT CIPHER SCHEME KEYWRAP UKM WRITER
//
// Certificates, keys (PKCS #8) and objects are files in DER. What fails leaves its
// reason in OUT.err, and no OUT. CIPHER, SCHEME and KEYWRAP are object
// identifiers; RSA-OAEP is "oaep-" with the name of a digest, and has no KEYWRAP. UKM is hex, or "none". WRITER is
// "der", "ber" (indefinite lengths around definite content) or "stream"
// (content in pieces, too).

import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.PrivateKey;
import java.security.Security;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.security.interfaces.ECPublicKey;
import java.security.spec.MGF1ParameterSpec;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.HexFormat;
import java.util.List;
import javax.crypto.spec.OAEPParameterSpec;
import javax.crypto.spec.PSource;
import org.bouncycastle.asn1.ASN1ObjectIdentifier;
import org.bouncycastle.asn1.cms.CMSObjectIdentifiers;
import org.bouncycastle.asn1.cms.ContentInfo;
import org.bouncycastle.asn1.pkcs.PKCSObjectIdentifiers;
import org.bouncycastle.asn1.pkcs.PrivateKeyInfo;
import org.bouncycastle.cert.X509CertificateHolder;
import org.bouncycastle.cms.*;
import org.bouncycastle.cms.jcajce.*;
import org.bouncycastle.jce.provider.BouncyCastleProvider;
import org.bouncycastle.operator.OutputAEADEncryptor;
import org.bouncycastle.operator.OutputEncryptor;
import org.bouncycastle.operator.jcajce.JcaAlgorithmParametersConverter;

public class Judge {
	static final List<String> GCM = List.of(
		"2.16.840.1.101.3.4.1.6", "2.16.840.1.101.3.4.1.26", "2.16.840.1.101.3.4.1.46");
	static final int PIECE = 1000; // octets, of content that is written in pieces

	public static void main(String[] none) throws Exception {
		Security.addProvider(new BouncyCastleProvider());
		var orders = new BufferedReader(new InputStreamReader(System.in));
		for (String line; (line = orders.readLine()) != null;) {
			String[] w = line.split(" ");
			boolean open = w[0].equals("open");
			Path out = Path.of(open ? w[4] : w[3]);
			try {
				Files.write(out, open ? open(read(w[1]), read(w[2]), read(w[3])) : make(w));
			} catch (Exception | LinkageError e) {
				Files.writeString(Path.of(out + ".err"), reasons(e));
			}
		}
	}

	static byte[] read(String path) throws Exception {
		return Files.readAllBytes(Path.of(path));
	}

	static String reasons(Throwable e) {
		var all = new StringBuilder();
		for (int depth = 0; e != null && depth < 10; depth++, e = e.getCause()) {
			all.append(e).append('\n');
		}
		return all.toString();
	}

	static byte[] open(byte[] object, byte[] cert, byte[] key) throws Exception {
		var holder = new X509CertificateHolder(cert);
		PrivateKey own = BouncyCastleProvider.getPrivateKey(PrivateKeyInfo.getInstance(key));
		var type = ContentInfo.getInstance(object).getContentType();
		boolean authenticated = type.equals(CMSObjectIdentifiers.authEnvelopedData);
		RecipientInformationStore all = authenticated
			? new CMSAuthEnvelopedData(object).getRecipientInfos()
			: new CMSEnvelopedData(object).getRecipientInfos();
		for (RecipientInformation info : all.getRecipients()) {
			if (info.getRID() instanceof KeyTransRecipientId id && id.match(holder)) {
				return info.getContent(authenticated
					? new JceKeyTransAuthEnvelopedRecipient(own).setProvider("BC")
					: new JceKeyTransEnvelopedRecipient(own).setProvider("BC"));
			}
			if (info.getRID() instanceof KeyAgreeRecipientId id && id.match(holder)) {
				if (authenticated) {
					// There is no class for it.
					throw new CMSException("no key agreement for AuthEnvelopedData");
				}
				return info.getContent(new JceKeyAgreeEnvelopedRecipient(own).setProvider("BC"));
			}
		}
		throw new CMSException("no recipient");
	}

	static byte[] make(String[] w) throws Exception {
		var certificates = CertificateFactory.getInstance("X.509", "BC");
		var cert = (X509Certificate) certificates.generateCertificate(Files.newInputStream(Path.of(w[2])));
		RecipientInfoGenerator recipient = recipient(cert, w[5], w[6], w[7]);
		byte[] content = read(w[1]);
		OutputEncryptor cipher = new JceCMSContentEncryptorBuilder(new ASN1ObjectIdentifier(w[4])).setProvider("BC").build();
		boolean authenticated = GCM.contains(w[4]);
		if (w[8].equals("stream")) {
			return stream(content, recipient, cipher); // CBC only: 1.72 has no class for GCM
		}
		String encoding = w[8].equals("der") ? "DER" : "BER";
		if (authenticated) {
			var g = new CMSAuthEnvelopedDataGenerator();
			g.addRecipientInfoGenerator(recipient);
			return g.generate(new CMSProcessableByteArray(content), (OutputAEADEncryptor) cipher)
				.toASN1Structure().getEncoded(encoding);
		}
		var g = new CMSEnvelopedDataGenerator();
		g.addRecipientInfoGenerator(recipient);
		return g.generate(new CMSProcessableByteArray(content), cipher).toASN1Structure().getEncoded(encoding);
	}

	static RecipientInfoGenerator recipient(X509Certificate cert, String scheme, String wrap, String ukm) throws Exception {
		if (scheme.startsWith("oaep-")) {
			String digest = scheme.substring("oaep-".length());
			var parameters = new OAEPParameterSpec(digest, "MGF1", new MGF1ParameterSpec(digest), PSource.PSpecified.DEFAULT);
			return new JceKeyTransRecipientInfoGenerator(cert,
				new JcaAlgorithmParametersConverter().getAlgorithmIdentifier(
					PKCSObjectIdentifiers.id_RSAES_OAEP, parameters)).setProvider("BC");
		}
		if (!(cert.getPublicKey() instanceof ECPublicKey key)) {
			return new JceKeyTransRecipientInfoGenerator(cert).setProvider("BC");
		}
		var keys = KeyPairGenerator.getInstance("EC", "BC");
		keys.initialize(key.getParams());
		KeyPair pair = keys.generateKeyPair();
		var g = new JceKeyAgreeRecipientInfoGenerator(new ASN1ObjectIdentifier(scheme),
			pair.getPrivate(), pair.getPublic(), new ASN1ObjectIdentifier(wrap)).setProvider("BC");
		if (!ukm.equals("none")) {
			g.setUserKeyingMaterial(HexFormat.of().parseHex(ukm));
		}
		return g.addRecipient(cert);
	}

	static byte[] stream(byte[] content, RecipientInfoGenerator recipient, OutputEncryptor cipher) throws Exception {
		var g = new CMSEnvelopedDataStreamGenerator();
		g.setBEREncodeRecipients(true);
		g.setBufferSize(PIECE);
		g.addRecipientInfoGenerator(recipient);
		var object = new ByteArrayOutputStream();
		try (OutputStream out = g.open(object, cipher)) {
			out.write(content);
		}
		return object.toByteArray();
	}
}
