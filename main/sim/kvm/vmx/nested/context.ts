/** The caches of each vmcs12 (`gpc-v4`): a table of the VM that VMPTRLD looks into. */
import { contextLockFree } from '../../../host/locks.ts';
import { gpcId } from '../../../state/gpc.ts';
import type { MachineView } from '../../../state/machine.ts';
import { kvm, type Machine } from '../../../steps.ts';
import { kvm_gpc_init, kvm_gpc_init_for_vcpu } from '../../pfncache.ts';

const file = 'arch/x86/kvm/nested.c';

type Context = MachineView['vm']['nested_context'][number];

/** New caches, for the vCPU that takes them first. @kvm vmx/nested.c: vmx_nested_context_alloc */
export const initCaches = (
  m: Machine,
  owner: { readonly vcpu: number; readonly context: number },
): void => {
  kvm_gpc_init(m, gpcId(m, owner, 'msr_bitmap_cache'));
  kvm_gpc_init_for_vcpu(m, gpcId(m, owner, 'apic_access_page_cache'), owner.vcpu);
  kvm_gpc_init_for_vcpu(m, gpcId(m, owner, 'virtual_apic_cache'), owner.vcpu);
  kvm_gpc_init_for_vcpu(m, gpcId(m, owner, 'pi_desc_cache'), owner.vcpu);
  kvm_gpc_init(m, gpcId(m, owner, 'hv_evmcs_cache'));
};

const findContext = (m: Machine, gpa: number): Context | undefined => {
  for (const context of m.vm.nested_context) {
    if (context.used && context.gpa === gpa) return context;
  }
  return undefined;
};

/** The one that waits longest for somebody to take it. */
const leastRecent = (m: Machine): Context | undefined => {
  let found: Context | undefined;
  for (const context of m.vm.nested_context) {
    if (!context.used || context.vcpu >= 0) continue;
    if (found === undefined || context.released < found.released) found = context;
  }
  return found;
};

/** Room in the table, which has as many places as contexts are allowed. */
const unused = (m: Machine): Context | undefined =>
  m.vm.nested_context.find((context) => !context.used);

/** A found context is taken off the LRU list; another vCPU may still have it. */
const reuse = (m: Machine, vcpu: number, context: Context): Context | undefined => {
  const shared = context.vcpu >= 0 && context.vcpu !== vcpu;
  if (shared && m.on('gpc-ctx-exclusive')) return undefined;
  if (shared) m.vm.spec.shared_contexts++;
  m.vm.stat.nested_context_reuse++;
  return context;
};

/** The context of a vmcs12, found, new or recycled, under the lock of the table. */
const contextFor = (m: Machine, vcpu: number, gpa: number): Context | undefined => {
  const known = findContext(m, gpa);
  if (known !== undefined) return reuse(m, vcpu, known);
  const place = unused(m);
  const context = place ?? leastRecent(m);
  if (context === undefined) return undefined;
  if (place === undefined) m.vm.stat.nested_context_recycle++;
  else initCaches(m, { vcpu, context: context.index });
  context.used = true;
  context.gpa = gpa;
  return context;
};

/**
 * Finds the caches of a vmcs12 for a vCPU; −1 if there are none to be had. A recycled context keeps
 * what it maps: its caches are refreshed when they are used for another page.
 * @omits that a new context is allocated without the lock, and that this fails
 */
const kvm_nested_context_load = kvm(
  file,
  function* kvm_nested_context_load(m: Machine, vcpu: number, gpa: number) {
    yield m.park('lock the table of contexts', contextLockFree);
    m.vm.nested_context_lock = m.current + 1;
    yield m.step('find the context, or take a new one, or recycle the least recent');
    const context = contextFor(m, vcpu, gpa);
    if (context !== undefined) context.vcpu = vcpu;
    yield m.step('unlock the table');
    m.vm.nested_context_lock = 0;
    return context?.index ?? -1;
  },
);

/** May the VMCLEAR of a vCPU take a context from who has it? */
const mayRelease = (m: Machine, vcpu: number, { vcpu: owner }: Context): boolean =>
  owner >= 0 && (owner === vcpu || !m.on('gpc-ctx-exclusive'));

/** Who may take the context now need not find the vCPU with its caches still. */
const letGo = (m: Machine, vcpu: number, { index }: Context): void => {
  const { nested } = m.vcpu[vcpu]!;
  if (m.on('gpc-ctx-exclusive') && nested.context === index) nested.context = -1;
};

/** VMCLEAR: the caches stay active and wait on the LRU list. */
const kvm_nested_context_clear = kvm(
  file,
  function* kvm_nested_context_clear(m: Machine, vcpu: number, gpa: number) {
    yield m.park('lock the table of contexts', contextLockFree);
    m.vm.nested_context_lock = m.current + 1;
    yield m.step('the context goes to the end of the LRU list');
    const context = findContext(m, gpa);
    if (context !== undefined && mayRelease(m, vcpu, context)) {
      context.vcpu = -1;
      context.released = m.vm.nested_context_clears++;
      letGo(m, vcpu, context);
    }
    yield m.step('unlock the table');
    m.vm.nested_context_lock = 0;
  },
);

/**
 * VMPTRLD: the vCPU uses the caches of the vmcs12. If there are none to be had it goes on with
 * those that it has, which may be somebody else's by now.
 */
export const vmx_nested_context_load = kvm(
  'arch/x86/kvm/vmx/nested.c',
  function* vmx_nested_context_load(m: Machine, vcpu: number, gpa: number) {
    if (!m.on('nested-context-table')) return;
    const context: number = yield* kvm_nested_context_load(m, vcpu, gpa);
    if (context < 0 && !m.on('gpc-ctx-exclusive')) return;
    yield m.step('use the caches of context {context}', context);
    m.vcpu[vcpu]!.nested.context = context;
  },
);

/** VMCLEAR and VMXOFF. */
export const vmx_nested_context_clear = kvm(
  'arch/x86/kvm/vmx/nested.c',
  function* vmx_nested_context_clear(m: Machine, vcpu: number, gpa: number) {
    if (m.on('nested-context-table')) yield* kvm_nested_context_clear(m, vcpu, gpa);
  },
);
