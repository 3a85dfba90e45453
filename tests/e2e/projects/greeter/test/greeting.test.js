'use strict';

const test = require('node:test');
const assert = require('node:assert');
const { greeting } = require('../greeting');

test('a greeting names who is greeted', () => {
  assert.strictEqual(greeting('Ada'), 'Hello, Ada!');
});
