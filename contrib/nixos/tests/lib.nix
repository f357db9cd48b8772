# A stand-in for the parts of nixpkgs' lib that module.nix uses, so that CI can evaluate it without nixpkgs.
rec {
  inherit (builtins) attrNames attrValues concatLists elem filter foldl' head isAttrs isBool isFunction isInt isList isString length listToAttrs map match tail toJSON hasAttr removeAttrs genList functionArgs intersectAttrs elemAt concatStringsSep substring stringLength replaceStrings;
  nameValuePair = name: value: { inherit name value; };
  mapAttrs' = f: s: listToAttrs (map (n: f n s.${n}) (attrNames s));
  mapAttrsToList = f: s: map (n: f n s.${n}) (attrNames s);
  filterAttrs = p: s: listToAttrs (filter (x: p x.name x.value) (mapAttrsToList nameValuePair s));
  optional = c: x: if c then [ x ] else [ ]; optionals = c: x: if c then x else [ ];
  optionalString = c: s: if c then s else ""; optionalAttrs = c: a: if c then a else { };
  concatMap = builtins.concatMap; concatMapStringsSep = s: f: l: concatStringsSep s (map f l); unique = foldl' (a: x: if elem x a then a else a ++ [ x ]) [ ];
  hasPrefix = p: s: substring 0 (stringLength p) s == p; removePrefix = p: s: if hasPrefix p s then substring (stringLength p) (-1) s else s;
  literalExpression = text: { _type = "literalExpression"; inherit text; };
  escapeShellArg = s: "'${replaceStrings [ "'" ] [ "'\\''" ] (toString s)}'";
  recursiveUpdate = a: b: a // builtins.mapAttrs (n: v: if isAttrs v && isAttrs (a.${n} or null) then recursiveUpdate a.${n} v else v) b;
  # priorities and conditionals
  mkOption = o: o // { _type = "option"; }; mkEnableOption = d: mkOption { type = types.bool; default = false; description = "Whether to enable ${d}."; };
  mkIf = condition: content: { _type = "if"; inherit condition content; }; mkMerge = contents: { _type = "merge"; inherit contents; };
  mkOverride = priority: content: { _type = "override"; inherit priority content; }; mkDefault = mkOverride 1000; mkForce = mkOverride 50; mkOptionDefault = mkOverride 1500;
  discharge = v: if (v._type or "") == "if" then (if v.condition then discharge v.content else [ ]) else if (v._type or "") == "merge" then concatLists (map discharge v.contents) else [ v ];
  prioOf = v: if isAttrs v && (v._type or "") == "override" then v.priority else 100; strip = v: if isAttrs v && (v._type or "") == "override" then v.content else v;
  pushDown = n: v: if isAttrs v && (v._type or "") == "if" then map (x: mkIf v.condition x) (pushDown n v.content) else if isAttrs v && (v._type or "") == "merge" then concatLists (map (pushDown n) v.contents) else if isAttrs v && v ? ${n} then [ v.${n} ] else [ ];
  isOpt = o: isAttrs o && (o._type or "") == "option";
  die = loc: msg: throw "${concatStringsSep "." loc}: ${msg}";
  one = loc: vs: if length vs == 1 || builtins.all (x: x == head vs) vs then head vs else die loc "conflicting definitions";
  prim = description: check: { inherit description; merge = loc: vs: let v = one loc vs; in if check v then v else die loc "not of type ${description}"; };
  types = rec {
    bool = prim "boolean" isBool; int = prim "int" isInt; str = prim "string" isString; path = prim "path" (v: isString v || builtins.isPath v); package = prim "package" (v: isAttrs v && v ? outPath); unspecified = prim "unspecified" (_: true); raw = unspecified;
    anything = { description = "anything"; merge = loc: vs: if builtins.all isAttrs vs then foldl' recursiveUpdate { } vs else if builtins.all isList vs then concatLists vs else one loc vs; };
    lines = { description = "lines"; merge = _: concatStringsSep "\n"; }; positive = prim "positive int" (v: isInt v && v > 0); ints = { inherit positive; unsigned = prim "unsigned" (v: isInt v && v >= 0); };
    enum = vs: prim "one of ${toJSON vs}" (v: elem v vs); strMatching = re: prim "string matching ${re}" (v: isString v && match re v != null);
    nullOr = t: { description = "null or ${t.description}"; merge = loc: vs: if builtins.all (v: v == null) vs then null else t.merge loc (filter (v: v != null) vs); };
    listOf = t: { description = "list of ${t.description}"; merge = loc: vs: let l = concatLists (map (v: if isList v then v else die loc "not a list") vs); in genList (i: t.merge (loc ++ [ (toString i) ]) [ (elemAt l i) ]) (length l); empty = [ ]; };
    attrsOf = t: { description = "attrs of ${t.description}"; merge = loc: vs: let ns = unique (concatMap (v: attrNames v) (concatMap discharge vs)); in listToAttrs (filter (x: x.value != { _empty = true; }) (map (n: nameValuePair n (let d = concatMap discharge (concatMap (pushDown n) vs); in if d == [ ] then { _empty = true; } else mergeDefs t (loc ++ [ n ]) d)) ns)); empty = { }; }; lazyAttrsOf = attrsOf;
    either = a: b: { description = "${a.description} or ${b.description}"; merge = loc: vs: let r = builtins.tryEval (builtins.deepSeq (a.merge loc vs) 1); in if r.success then a.merge loc vs else b.merge loc vs; }; oneOf = ts: foldl' either (head ts) (tail ts);
    coercedTo = from: f: to: { inherit (to) description; merge = loc: vs: to.merge loc (map (v: let r = builtins.tryEval (from.merge loc [ v ]); in if r.success then f v else v) vs); };
    submodule = m: { description = "submodule"; merge = loc: vs: let r = evalModules { modules = [ m ] ++ map (v: if isFunction v then v else { config = v; }) vs; specialArgs = { name = elemAt loc (length loc - 1); }; prefix = loc; }; in if r.unknown != [ ] then die loc "unknown option(s) ${toJSON r.unknown}" else r.config; };
  };
  mergeDefs = t: loc: defs: let best = foldl' (a: d: if prioOf d < a then prioOf d else a) 9999 defs; in t.merge loc (concatMap discharge (map strip (filter (d: prioOf d == best) defs)));
  evalModules = { modules, specialArgs ? { }, prefix ? [ ] }: let
      call = m: let f = if builtins.isPath m || isString m then import m else m; in if isFunction f then f (let a = { inherit config options; lib = self; } // specialArgs; in if functionArgs f == { } then a else intersectAttrs (functionArgs f) a) else f;
      norm = m: let r = call m; in if r ? config || r ? options || r ? imports then { options = r.options or { }; config = r.config or { }; imports = r.imports or [ ]; free = r.freeformType or (r.options.freeformType or null); } else { options = { }; config = removeAttrs r [ "freeformType" ]; imports = [ ]; free = r.freeformType or null; };
      flat = ms: concatMap (m: let n = norm m; in flat n.imports ++ [ (n // { free = let c = call m; in if isAttrs c then c.freeformType or null else null; }) ]) ms;
      all = flat modules; free = foldl' (a: m: if m.free != null then m.free else a) null all;
      mergeOpts = os: let ns = unique (concatMap attrNames os); in listToAttrs (map (n: let vs = map (o: o.${n}) (filter (o: o ? ${n}) os); in nameValuePair n (if isOpt (head vs) then head vs else mergeOpts vs)) ns);
      options = mergeOpts (map (m: m.options) all);
      walk = loc: opts: defs: free: let
          known = builtins.mapAttrs (n: o: let ds = concatMap discharge (concatMap (pushDown n) defs); l = loc ++ [ n ]; in
            if isOpt o then (let v = if ds == [ ] then (if o ? default then mergeDefs o.type l [ (o.default) ] else if o.type ? empty then o.type.empty else die l "used but not defined") else mergeDefs o.type l ds; in (o.apply or (x: x)) v) else walk l o (concatMap (pushDown n) defs) null) opts;
        in (if free == null then { } else removeAttrs (free.merge loc (map (d: removeAttrs d (attrNames opts)) (concatMap discharge defs))) [ ]) // known;
      config = walk prefix options (map (m: m.config) all) free;
      # names set but never declared; kept apart from config so that `mkIf config.x` at module level stays lazy
      stray = loc: opts: defs: let ds = filter isAttrs (concatMap discharge defs); in concatMap (n: let l = loc ++ [ n ]; in if !(opts ? ${n}) then [ (concatStringsSep "." l) ] else if isOpt opts.${n} then [ ] else stray l opts.${n} (concatMap (pushDown n) ds)) (unique (concatMap attrNames ds));
      unknown = if free != null then [ ] else stray prefix options (map (m: m.config) all);
    in { inherit config options unknown; };
  self = mini; mini = import ./lib.nix;
}
