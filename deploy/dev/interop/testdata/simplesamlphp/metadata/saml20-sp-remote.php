<?php
// The door, as it describes itself; the settings of a test go before what it wishes.
$settings = json_decode(file_get_contents(getenv('INTEROP_STATE') . '/settings.json'), true);
$door = \SimpleSAML\Metadata\SAMLParser::parseFile(getenv('INTEROP_STATE') . '/door.xml')->getMetadata20SP();
unset($door['entityDescriptor'], $door['expire'], $door['metadata-set']);
$door['saml20.sign.assertion'] = $settings['sign_assertion'];
$door['validate.authnrequest'] = $settings['strict'];
$door['NameIDFormat'] = 'urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress';
$metadata[$door['entityid']] = $door;
