package config

import "reflect"

// LoadGateway reads the configuration of a gateway. source is a file name or a
// place in Vault such as "vault:secret/sallyport/gateway"; it only appears in
// messages. The error is a [*Faults] with everything that is wrong.
func LoadGateway(source string, text []byte) (*Gateway, error) {
	gateway, faults := defaultGateway(), newCollector()
	if decode(text, reflect.ValueOf(&gateway).Elem(), faults) {
		gateway.complete(faults.isGiven)
		validateGateway(&gateway, faults)
	}
	if err := faults.err(source); err != nil {
		return nil, err
	}
	return &gateway, nil
}

// LoadSidecar reads the configuration of a sidecar; see [LoadGateway]. What checks find is
// part of the error: they are called once with what was decoded, which may be faulty.
func LoadSidecar(source string, text []byte, checks ...func(*Sidecar) []Finding) (*Sidecar, error) {
	sidecar, faults := defaultSidecar(), newCollector()
	if decode(text, reflect.ValueOf(&sidecar).Elem(), faults) {
		sidecar.complete()
		validateSidecar(&sidecar, faults)
		for _, check := range checks {
			faults.addFound(check(&sidecar))
		}
	}
	if err := faults.err(source); err != nil {
		return nil, err
	}
	return &sidecar, nil
}

// LoadSecretDriver reads the configuration of a secret driver; see [LoadGateway].
func LoadSecretDriver(source string, text []byte) (*SecretDriver, error) {
	driver, faults := defaultSecretDriver(), newCollector()
	if decode(text, reflect.ValueOf(&driver).Elem(), faults) {
		validateSecretDriver(&driver, faults)
	}
	if err := faults.err(source); err != nil {
		return nil, err
	}
	return &driver, nil
}

// LoadProvision reads what Vault must hold; see [LoadGateway].
func LoadProvision(source string, text []byte) (*Provision, error) {
	provision, faults := defaultProvision(), newCollector()
	if decode(text, reflect.ValueOf(&provision).Elem(), faults) {
		provision.complete(faults.isGiven)
		validateProvision(&provision, faults)
	}
	if err := faults.err(source); err != nil {
		return nil, err
	}
	return &provision, nil
}

// decode fills target and reports whether there is something to validate: a
// file that is no mapping at all has just that fault.
func decode(text []byte, target reflect.Value, faults *collector) bool {
	root := parseDocument(text, faults)
	if root == nil {
		return false
	}
	d := decoder{faults}
	if !d.mapping(root, target, "") {
		faults.addFile(lineOf(root.GetToken()), describe(root), expectation(target.Type()))
		return false
	}
	return true
}
