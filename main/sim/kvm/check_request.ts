/** Taking a request. */
import type { RequestNumber } from '../state/requests.ts';
import { kvm, type Machine } from '../steps.ts';
import { noteTaken } from './kvm_main.ts';

/**
 * Is the request set? Clears it, so that a request made while the handler runs is seen later.
 * Without `req-clear-before-handle` the caller clears it behind the handler.
 */
export const kvm_check_request = kvm(
  'include/linux/kvm_host.h',
  function* kvm_check_request(m: Machine, vcpuIndex: number, request: RequestNumber) {
    const { requests } = m.vcpu[vcpuIndex]!;
    yield m.step('is request {request} set?', request);
    if (!requests.has(request)) return false;
    if (m.on('req-clear-before-handle')) {
      yield m.step('clear request {request}', request);
      requests.clear(request);
    }
    noteTaken(m, vcpuIndex, request);
    return true;
  },
);
