package saml

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/asn1"
	"math/big"
	"slices"
	"testing"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"
)

// inPairs has an identity provider with an ECDSA key write what XML Signature
// prescribes: r and s side by side.
func inPairs(_ testing.TB, idp *testIdP) { idp.pairs = true }

// pairs are ECDSA signatures in that form, and what looks like them.
func pairs() []attack {
	with := func(method string) func(testing.TB, *testIdP) {
		return func(t testing.TB, idp *testIdP) {
			inPairs(t, idp)
			idp.method = method
		}
	}
	rows := []attack{
		{id: "P24", name: "ECDSA as r||s, assertion signed", key: "p256-idp"},
		{id: "P25", name: "ECDSA as r||s, response signed", key: "p256-idp", sign: signResponse},
		{id: "P26", name: "ECDSA as r||s, both signed", key: "p256-idp", sign: signBoth},
		{id: "P27", name: "ECDSA as r||s on P-384 with SHA-384", key: "p384-idp", sign: signBoth, idp: with(dsig.ECDSASHA384SignatureMethod)},
		{id: "P28", name: "ECDSA as r||s on P-521 with SHA-512", key: "p521-idp", sign: signBoth, idp: with(dsig.ECDSASHA512SignatureMethod)},
		{id: "P29", name: "ECDSA as r||s on P-256 with SHA-512", key: "p256-idp", idp: with(dsig.ECDSASHA512SignatureMethod)},
		{id: "P30", name: "ECDSA as r||s in the default namespace, without KeyInfo", key: "p256-idp", sign: signBoth, idp: func(t testing.TB, idp *testIdP) {
			inPairs(t, idp)
			idp.noPrefix, idp.noKeyInfo = true, true
		}},
		{id: "P31", name: "ECDSA as r||s in lines, with InclusiveNamespaces", key: "p256-idp", sign: signBoth, idp: func(t testing.TB, idp *testIdP) {
			inPairs(t, idp)
			idp.prefixes = "xs"
		}, after: onValue("./Signature", func(_ elliptic.Curve, v []byte) []byte { return v }, func(s string) string { return "\n  " + s[:40] + "\r\n\t" + s[40:] + "\n" })},
		{id: "P32", name: "ECDSA as r||s around DER", key: "p256-idp", sign: signBoth, after: setPair("./Signature", func(_ elliptic.Curve, v []byte) []byte { return sideBySide(v) }),
			idp: func(_ testing.TB, idp *testIdP) { idp.pairs = false }},
		{id: "P33", name: "ECDSA as DER around r||s", key: "p256-idp", sign: signBoth, after: setPair("./Signature", inDER)},
		{id: "P34", name: "the response's own signature put into DER on its way", key: "p384-idp", sign: signBoth, after: setPair("./Signature", inDER)},
		{id: "P35", name: "the negative of s, which is as good, in a signature that nothing covers", key: "p256-idp", sign: signBoth, after: setPair("./Signature", negative)},
		{id: "B12", name: "ECDSA signature made as DER and sent as r||s", key: "p256-idp", idp: func(_ testing.TB, idp *testIdP) { idp.pairs = false },
			after: setPair(".//Signature", func(_ elliptic.Curve, v []byte) []byte { return sideBySide(v) })},
		{id: "B12k", name: "the assertion's r||s put into DER inside of a signed response", key: "p256-idp", sign: signBoth, want: CodeSignature, after: setPair("./Assertion/Signature", inDER)},
		{id: "B12l", name: "the negative of the assertion's s inside of a signed response", key: "p256-idp", sign: signBoth, want: CodeSignature, after: setPair("./Assertion/Signature", negative)},
		{id: "B12m", name: "the assertion's r||s and the response's own exchanged", key: "p256-idp", sign: signBoth, want: CodeSignature, after: func(_ testing.TB, m *message) {
			outer, inner := signatureValue(m.root), signatureValue(m.assertion)
			text := outer.Text()
			outer.SetText(inner.Text())
			inner.SetText(text)
		}},
		{id: "B12n", name: "r||s of another key in the assertion of a signed response", key: "p256-idp", sign: signResponse, want: CodeSignature, edit: func(t testing.TB, m *message) {
			stranger := newTestIdP(t, "p256-other")
			stranger.pairs, stranger.noKeyInfo = true, true
			stranger.sign(t, m.assertion)
		}},
		{id: "B12o", name: "64 bytes for an RSA key", want: CodeSignature, after: setPair(".//Signature", func(_ elliptic.Curve, v []byte) []byte { return v[:64] })},
		{id: "B12p", name: "ECDSA by name and r||s by length for an RSA key", want: CodeSignature, after: func(_ testing.TB, m *message) {
			m.find("SignatureMethod").CreateAttr("Algorithm", dsig.ECDSASHA256SignatureMethod)
			m.find("SignatureValue").SetText(encode(bytes.Repeat([]byte{1}, 64)))
		}},
		{id: "B12q", name: "RSA by name and r||s by length for an ECDSA key", key: "p256-idp", want: CodeSignature, after: func(_ testing.TB, m *message) {
			m.find("SignatureMethod").CreateAttr("Algorithm", dsig.RSASHA256SignatureMethod)
		}},
		{id: "B12r", name: "one letter changed under r||s", key: "p256-idp", want: CodeSignature, raw: replaced("Alice Example", "Alice Exampel")},
		{id: "B12s", name: "one letter changed around what r||s signs inside", key: "p256-idp", sign: signBoth, want: CodeSignature, raw: replaced(`Destination="`, `Consent="urn:x" Destination="`)},
		{id: "B12t", name: "unsigned assertion in the place of one that r||s signs", key: "p256-idp", want: CodeUnsigned, after: func(_ testing.TB, m *message) {
			evil := forged(m)
			detach(m.assertion)
			m.root.AddChild(evil)
		}},
	}
	rows = append(rows, encryptedPairs()...)
	for name, change := range spoiltPairs() {
		rows = append(rows, attack{id: "B12" + name[:1], name: name[3:], key: "p256-idp", want: CodeSignature, after: setPair(".//Signature", change)})
	}
	slices.SortStableFunc(rows, func(a, b attack) int { return bytes.Compare([]byte(a.id), []byte(b.id)) })
	for i := range rows {
		if rows[i].idp == nil {
			rows[i].idp = inPairs
		}
	}
	return rows
}

// encryptedPairs are in and around an encrypted assertion.
func encryptedPairs() []attack {
	return []attack{
		{id: "PD24", name: "r||s in the encrypted assertion", key: "p256-idp", encrypt: &encryption{}},
		{id: "PD25", name: "r||s around the encrypted assertion", key: "p256-idp", sign: signResponse, encrypt: &encryption{data: aes128CBC}},
		{id: "PD26", name: "r||s in and around the encrypted assertion", key: "p384-idp", sign: signBoth, encrypt: &encryption{data: aes256CBC}},
		{id: "D12a", name: "zeros as r||s around the encrypted assertion", key: "p256-idp", sign: signBoth, encrypt: &encryption{}, want: CodeSignature,
			after: setPair("./Signature", func(_ elliptic.Curve, v []byte) []byte { return make([]byte, len(v)) })},
		{id: "D12b", name: "r||s of another key in the encrypted assertion of a signed response", key: "p256-idp", sign: signResponse, encrypt: &encryption{}, want: CodeSignature, edit: func(t testing.TB, m *message) {
			stranger := newTestIdP(t, "p256-other")
			stranger.pairs, stranger.noKeyInfo = true, true
			stranger.sign(t, m.assertion)
		}},
	}
}

// spoiltPairs are r and s as no signer writes them, by the letter of their id.
func spoiltPairs() map[string]func(elliptic.Curve, []byte) []byte {
	half := func(v []byte) ([]byte, []byte) { return v[:len(v)/2], v[len(v)/2:] }
	padded := func(v []byte, zeros int) []byte {
		r, s := half(v)
		return slices.Concat(make([]byte, zeros), r, make([]byte, zeros), s)
	}
	return map[string]func(elliptic.Curve, []byte) []byte{
		"b: r and s exchanged": func(_ elliptic.Curve, v []byte) []byte { r, s := half(v); return slices.Concat(s, r) },
		"c: r is zero": func(_ elliptic.Curve, v []byte) []byte {
			r, s := half(v)
			return slices.Concat(make([]byte, len(r)), s)
		},
		"d: s is zero": func(_ elliptic.Curve, v []byte) []byte {
			r, s := half(v)
			return slices.Concat(r, make([]byte, len(s)))
		},
		"e: r and s are the order of the curve": func(c elliptic.Curve, _ []byte) []byte {
			n := c.Params().N.Bytes()
			return slices.Concat(n, n)
		},
		"f: r and s are the greatest that fit":   func(_ elliptic.Curve, v []byte) []byte { return bytes.Repeat([]byte{0xff}, len(v)) },
		"g: the first byte is missing":           func(_ elliptic.Curve, v []byte) []byte { return v[1:] },
		"h: the last byte is missing":            func(_ elliptic.Curve, v []byte) []byte { return v[:len(v)-1] },
		"i: with zeros before, as long as P-384": func(_ elliptic.Curve, v []byte) []byte { return padded(v, 16) },
		"j: one zero more before each":           func(_ elliptic.Curve, v []byte) []byte { return padded(v, 1) },
	}
}

// setPair changes the value of a signature.
func setPair(path string, change func(elliptic.Curve, []byte) []byte) func(testing.TB, *message) {
	return onValue(path, change, func(s string) string { return s })
}

func onValue(path string, change func(elliptic.Curve, []byte) []byte, write func(string) string) func(testing.TB, *message) {
	return func(t testing.TB, m *message) {
		t.Helper()
		el := m.root.FindElement(path).Parent()
		value := valueOfSignature(t, el)
		signatureValue(el).SetText(write(encode(change(curveOf(value), value))))
	}
}

// valueOfSignature is that of the element's own signature.
func valueOfSignature(t testing.TB, el *etree.Element) []byte {
	t.Helper()
	value, err := decodeBase64(signatureValue(el).Text())
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// curveOf is the one whose signatures have this length, or P-256.
func curveOf(value []byte) elliptic.Curve {
	for _, curve := range []elliptic.Curve{elliptic.P384(), elliptic.P521()} {
		if len(value) == 2*orderSize(curve) {
			return curve
		}
	}
	return elliptic.P256()
}

// inDER is the same pair of numbers as the library reads them.
func inDER(curve elliptic.Curve, value []byte) []byte {
	return derValue(value, &ecdsa.PublicKey{Curve: curve})
}

// sideBySide is the opposite, for P-256.
func sideBySide(der []byte) []byte {
	pair, err := concatenate(der, &ecdsa.PublicKey{Curve: elliptic.P256()})
	if err != nil {
		panic(err)
	}
	return pair
}

// negative is another signature of the same octets by the same key, which whoever has
// one can make.
func negative(curve elliptic.Curve, value []byte) []byte {
	half := len(value) / 2
	s := new(big.Int).SetBytes(value[half:])
	return slices.Concat(value[:half], s.Sub(curve.Params().N, s).FillBytes(make([]byte, half)))
}

// TestCorpusIsJudgedAlikeInPairs: what is judged of RSA is judged of those signatures.
func TestCorpusIsJudgedAlikeInPairs(t *testing.T) {
	judged := 0
	for _, a := range corpus() {
		if a.key != "" || a.idp != nil || a.config != nil && a.want == CodeUnknownCertificate || a.encode != nil {
			continue
		}
		a.id, a.key, a.idp = a.id+" in pairs", "p256-idp", inPairs // a scene of its own
		if got, _ := a.run(t); got != a.want {
			t.Errorf("%s %s: code %q, for RSA %q", a.id, a.name, got, a.want)
		}
		judged++
	}
	t.Logf("%d cases are judged alike", judged)
	if judged < 250 {
		t.Errorf("only %d cases were looked at", judged)
	}
}

// TestReadableByTouchesOneValue: of what the library is given, nothing differs from
// what was sent but the value of the element's own signature.
func TestReadableByTouchesOneValue(t *testing.T) {
	idp := newTestIdP(t, "p256-idp")
	inPairs(t, idp)
	m := newMessage(t, testResponse)
	idp.sign(t, m.assertion)
	idp.sign(t, m.root)
	sent := m.bytes(t)
	readable := readableBy(m.root, idp.cert.PublicKey)
	if readable == m.root || !bytes.Equal(sent, m.bytes(t)) {
		t.Fatal("the response itself was changed")
	}
	value, err := decodeBase64(signatureValue(readable).Text())
	var numbers struct{ R, S *big.Int }
	if rest, parsed := asn1.Unmarshal(value, &numbers); err != nil || parsed != nil || len(rest) > 0 {
		t.Fatalf("the value is not DER: %v, %v", err, parsed)
	}
	signatureValue(readable).SetText(signatureValue(m.root).Text())
	doc := etree.NewDocument()
	doc.SetRoot(readable)
	if again, err := doc.WriteToBytes(); err != nil || !bytes.Equal(again, sent) {
		t.Errorf("more was changed than the value: %v\n%s\n%s", err, again, sent)
	}
	for name, other := range map[string]*testIdP{"DER": newTestIdP(t, "p256-idp"), "RSA": newTestIdP(t, "rsa-idp")} {
		m := newMessage(t, testResponse)
		if readableBy(m.root, other.cert.PublicKey) != m.root {
			t.Errorf("%s, unsigned: a copy was made", name)
		}
		other.sign(t, m.root)
		if readableBy(m.root, other.cert.PublicKey) != m.root {
			t.Errorf("%s: a copy was made", name)
		}
	}
}
