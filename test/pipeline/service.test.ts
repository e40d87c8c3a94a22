import assert from 'node:assert/strict';
import { test } from 'node:test';
import { withServiceName } from '../../src/node/pipeline/service.ts';

test('keeps a service_name that is there', () => {
  const labels = { service_name: 'mine', app: 'x' };
  assert.equal(withServiceName(labels), labels);
});

test('takes the first label in order', () => {
  assert.equal(withServiceName({ job: 'j', container: 'c' }).service_name, 'c');
  assert.equal(withServiceName({ job: 'j', app: 'a', service: 's' }).service_name, 's');
  assert.equal(withServiceName({ k8s_job_name: 'k', host: 'h' }).service_name, 'k');
  assert.equal(withServiceName({ app: '', name: 'n' }).service_name, 'n');
});

test('names what it cannot name unknown_service, and leaves the labels as they were', () => {
  const labels = { host: 'alice', filename: '/var/log/x' };
  assert.deepEqual(withServiceName(labels), { ...labels, service_name: 'unknown_service' });
  assert.deepEqual(Object.keys(labels), ['host', 'filename']);
});
