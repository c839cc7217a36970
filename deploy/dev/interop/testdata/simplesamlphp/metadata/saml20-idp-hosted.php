<?php
$settings = json_decode(file_get_contents(getenv('INTEROP_STATE') . '/settings.json'), true);
$binding = 'urn:oasis:names:tc:SAML:2.0:bindings:';
$metadata['__DYNAMIC:1__'] = [
    'host' => '__DEFAULT__',
    'auth' => 'people',
    'privatekey' => $settings['key'] . '.key',
    'certificate' => $settings['key'] . '.crt',
    'saml20.sign.response' => $settings['sign_response'],
    'saml20.sign.assertion' => $settings['sign_assertion'],
    'assertion.encryption' => $settings['encrypt'],
    'sign.logout' => true,
    'validate.authnrequest' => $settings['strict'],
    'validate.logout' => true,
    'SingleSignOnServiceBinding' => [$binding . 'HTTP-Redirect', $binding . 'HTTP-POST'],
    'SingleLogoutServiceBinding' => [$binding . 'HTTP-Redirect', $binding . 'HTTP-POST'],
    'NameIDFormat' => 'urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress',
    'authproc' => [
        10 => [
            'class' => 'saml:AttributeNameID',
            'attribute' => 'mail',
            'Format' => 'urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress',
        ],
    ],
];
if ($settings['next'] !== '') {
    $metadata['__DYNAMIC:1__']['new_privatekey'] = $settings['next'] . '.key';
    $metadata['__DYNAMIC:1__']['new_certificate'] = $settings['next'] . '.crt';
}
