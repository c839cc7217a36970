<?php
$config = [
    'people' => [
        'exampleauth:UserPass',
        'alice:alice-pw' => [
            'mail' => ['alice@example.com'],
            'displayName' => ['Alice Archer'],
            'groups' => ['engineers', 'admins'],
        ],
        'bob:bob-pw' => [
            'mail' => ['bob@example.com'],
            'displayName' => ['Bob Baker'],
            'groups' => ['support'],
        ],
    ],
];
